import json
import os
import socket
import subprocess
import sys

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


def test_check_looks_at_the_bootstrap(mesh, run, monkeypatch):
    monkeypatch.setenv("GRPC_XDS_BOOTSTRAP_CONFIG", "{}")
    said = run("check")
    assert said.exit_code == 1
    assert "xds_servers" in said.output


def test_check_looks_for_the_control_plane(mesh, run):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        assert f"{address} answers" in run("check", "--control-plane", address).output
    said = run("check", "--control-plane", address)
    assert said.exit_code == 1
