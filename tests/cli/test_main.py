import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from meshlib import __version__
from meshlib.cli import main

HEAVY = ("grpc", "aiohttp", "yaml", "google.protobuf", "rich", "msgspec", "re2")


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_shows_an_example(run, command):
    said = run(command, "--help")
    assert said.exit_code == 0
    assert f"Example:\n    meshlib {command}" in said.output


def test_the_version_is_told(run):
    assert __version__ in run("--version").output


def test_help_loads_nothing_heavy():
    program = (
        "import sys\nfrom meshlib.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_status_without_a_control_plane_says_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        from click.testing import CliRunner

        said = CliRunner().invoke(main, ["status", "--admin", address])
    assert said.exit_code == 1
    assert f"no control plane answers at {address}" in said.stderr
    assert "meshlib serve DIR" in said.stderr


def test_check_looks_at_the_config(mesh, run):
    said = run("check", "--config", mesh)
    assert said.exit_code == 0
    assert "0 errors, 0 other findings" in said.output
    (mesh / "routes.yaml").write_text("kind: [")
    said = run("check", "--config", mesh, "-o", "json")
    assert said.exit_code == 1
    (config,) = [one for one in json.loads(said.output) if one["group"] == "config"]
    assert config["state"] == "error"


@pytest.mark.parametrize(
    ("name", "value", "state", "what"),
    [
        ("MESHLIB_ADMIN", "nowhere", "error", "'nowhere' is not host:port"),
        ("MESHLIB_ACCESS_LOG_FORMAT", "%NO%", "error", "the operator %NO% is not supported"),
        ("MESHLIB_ACESS_LOG", "calls.log", "warning", "did you mean MESHLIB_ACCESS_LOG?"),
        ("OTEL_TRACES_EXPORTER", "console", "warning", "'console' is neither"),
    ],
)
def test_check_looks_at_the_environment(run, monkeypatch, name, value, state, what):
    monkeypatch.setenv("MESHLIB_ACCESS_LOG", "calls.log")
    monkeypatch.setenv(name, value)
    said = run("check", "-o", "json")
    assert said.exit_code == (state == "error")
    (told,) = [one for one in json.loads(said.output) if what in one["what"]]
    assert told["state"] == state


def test_check_looks_at_the_bootstrap(mesh, run, monkeypatch):
    monkeypatch.setenv("GRPC_XDS_BOOTSTRAP_CONFIG", "{}")
    said = run("check")
    assert said.exit_code == 1
    assert "xds_servers" in said.output


def test_check_tells_what_of_the_bootstrap_is_not_acted_on(mesh, run, monkeypatch):
    server = {
        "server_uri": "control-plane:18000",
        "channel_creds": [{"type": "insecure"}],
        "call_creds": [{"type": "theirs"}],
    }
    monkeypatch.setenv("GRPC_XDS_BOOTSTRAP_CONFIG", json.dumps({"xds_servers": [server]}))
    said = run("check")
    assert said.exit_code == 0, said.output
    told = "bootstrap: xds_servers[0].call_creds: theirs is accepted but not acted on"
    assert told in said.output


def test_check_looks_for_the_control_plane(mesh, run):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        assert f"{address} answers" in run("check", "--control-plane", address).output
    said = run("check", "--control-plane", address)
    assert said.exit_code == 1


def test_check_says_how_an_address_is_written(mesh, run):
    said = run("check", "--control-plane", "here")
    assert said.exit_code == 1
    assert "'here' is not host:port" in said.output


@pytest.mark.parametrize("address", ["here", "here:there", "http://127.0.0.1:18080"])
def test_status_takes_no_address_that_is_none(run, address):
    said = run("status", "--admin", address)
    assert said.exit_code == 2
    assert "is not host:port" in said.stderr


@pytest.mark.parametrize("answer", [b"\x00\x00\x04 not HTTP\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n{}"])
def test_status_of_somebody_elses_port_says_so(run, answer):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        said = run("status", "--admin", f"127.0.0.1:{listening.getsockname()[1]}")
        thread.join()
    assert said.exit_code == 1
    assert "is not the admin interface" in said.stderr


def test_a_sign_that_the_terminal_lacks_ends_no_command(mesh):
    done = subprocess.run(
        [sys.executable, "-m", "meshlib", "check"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "all is well" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only some systems have a full device")
def test_a_full_disk_is_told_in_one_line(mesh):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "meshlib", "compile", "mesh"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
