import json
import sys

import pytest

READY = {
    "address": "10.0.0.1",
    "port": 9080,
    "ports": {},
    "namespace": "default",
    "labels": {"app": "reviews"},
    "mtls": "auto",
    "plaintext_callers": {},
}


@pytest.fixture
def readiness(monkeypatch, run):
    """``readiness(server, …)``: what is said where these are registered."""

    def say(*servers, output=""):
        found = {"registered": list(servers)}
        monkeypatch.setattr(sys.modules["meshlib.cli.mtls"], "fetch", lambda *_: found)
        return run("mtls", "readiness", *(["-o", output] if output else []))

    return say


def test_strict_is_safe_where_nobody_calls_in_plain_text(readiness):
    said = readiness(READY)
    assert (said.exit_code, "STRICT is safe" in said.output) == (0, True)


def test_who_calls_in_plain_text_is_named(readiness):
    said = readiness(READY, READY | {"plaintext_callers": {"legacy": 12}})
    assert said.exit_code == 1
    assert "legacy 12" in said.output
    assert "not safe" in said.output


@pytest.mark.parametrize("mtls", ["", "off"])
def test_a_server_that_takes_no_certificates_is_not_ready(readiness, mtls):
    said = readiness(READY | {"mtls": mtls}, output="json")
    assert said.exit_code == 1
    assert json.loads(said.output)["safe"] is False


def test_without_servers_nothing_is_proven(readiness):
    said = readiness()
    assert said.exit_code == 1
    assert "Next: servers call mesh.register(port)" in said.output
