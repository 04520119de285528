"""The real program, as one starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from queue import Queue
from urllib.request import urlopen

import pytest


class Served:
    def __init__(self, folder, *arguments):
        rest = {key: value for key, value in os.environ.items() if not key.startswith("MESHLIB_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "meshlib", "serve", str(folder), *arguments],
            env={**rest, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._log = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self._log.put(line)

    def first_line(self):
        return self.process.stdout.readline()

    def said(self, text):
        while text not in (line := self._log.get(timeout=20)):
            pass
        return line

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def clean_up(self):
        self.process.kill()
        self.process.wait(20)
        self._reader.join(20)
        self.process.stdout.close()
        self.process.stderr.close()


FREE = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")


@pytest.fixture
def serve():
    started = []

    def begin(folder, *arguments):
        started.append(Served(folder, *(arguments or FREE)))
        return started[-1]

    yield begin
    for one in started:
        one.clean_up()


def version(line):
    return re.search("applied version ([0-9a-f]+)", line)[1]


def test_it_says_ready_follows_edits_refuses_bad_ones_and_drains(mesh, serve):
    plane = serve(mesh)
    ready = re.fullmatch(
        r"ready ads=127\.0\.0\.1:[0-9]+ admin=(127\.0\.0\.1:[0-9]+)\n", plane.first_line()
    )
    assert ready
    first = plane.said("applied version")
    routes = mesh / "routes.yaml"
    good = routes.read_text()
    routes.write_text(good.replace("weight: 90", "weight: 80"))
    second = plane.said("applied version")
    assert version(first) != version(second)
    routes.write_text(good.replace("weight: 90", "weight: a lot"))
    assert "serves on" in plane.said("refused an edit")
    assert "mesh/routes.yaml:14:" in plane.said("weight")
    with urlopen(f"http://{ready[1]}/api/v1/status") as answer:
        status = json.load(answer)
    assert status["version"] in second
    assert "mesh/routes.yaml:14:" in status["errors"][0]
    routes.write_text(good)
    assert version(plane.said("applied version")) == version(first)
    assert plane.end() == 0


def test_status_asks_the_running_control_plane(mesh, serve, run):
    plane = serve(mesh)
    admin = plane.first_line().split("admin=")[1].strip()
    said = run("status", "--admin", admin)
    assert said.exit_code == 0
    assert "0 clients. Serving version " in said.output
    assert "Next: " in said.output
    assert json.loads(run("status", "--admin", admin, "-o", "json").output)["clients"] == []
    (mesh / "routes.yaml").write_text("kind: Nonsense\n")
    plane.said("refused an edit")
    said = run("status", "--admin", admin)
    assert said.exit_code == 1
    assert "refused edit: mesh/routes.yaml:1:7" in said.output


def test_a_config_that_is_bad_from_the_start_is_not_served(mesh, serve):
    (mesh / "routes.yaml").write_text("kind: Nonsense\n")
    plane = serve(mesh)
    assert plane.first_line() == ""
    assert "mesh/routes.yaml:1:7" in plane.said("error")
    assert plane.process.wait(20) == 1


def test_a_port_that_is_taken_is_said(mesh, serve):
    taken = serve(mesh).first_line().split()[1].removeprefix("ads=")
    plane = serve(mesh, "--listen", taken, "--admin", "off")
    assert f"cannot listen on {taken}" in plane.said("error")
    assert plane.process.wait(20) == 1


def test_without_admin_only_one_address_is_said(mesh, serve):
    plane = serve(mesh, "--listen", "127.0.0.1:0", "--admin", "off", "-o", "json")
    lines = [plane.process.stdout.readline() for _ in range(7)]
    ready = json.loads("".join(lines))["ready"]
    assert ready["admin"] is None
    assert ready["ads"].startswith("127.0.0.1:")


def test_a_wrong_address_is_wrong_usage(mesh, run):
    assert run("serve", mesh, "--listen", "everywhere").exit_code == 2
