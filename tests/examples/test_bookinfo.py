"""The demo that everybody runs first, run as everybody runs it: ``demo.py --json``."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(180)

FACTS = {
    "a": {"split", "wanted"},
    "b": {"rules", "wanted_rules"},
    "c": {"split", "wanted", "split_after", "wanted_after", "effect_ms"},
    "d": {"split", "replicas_before", "replicas_after"},
    "e": {"split", "reconnected_edit_ms"},
    "f": {"trace_id", "path"},
}
PATH = "productpage v1 > details v1 > reviews v2 > ratings v1"

Account = dict[str, Any]


@pytest.fixture(scope="module")
def account(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """What the demo says of itself, as JSON on stdout; what its services logged, if it fails."""
    folder = tmp_path_factory.mktemp("demo")
    status, said, told = run(root, folder)
    if status:
        for log in sorted(folder.glob("bookinfo-*/logs/*")):
            print(f"--- {log.name}\n{log.read_text()[-2000:]}")
    assert said, f"exit status {status}, and no account\n{told}"
    account: Account = json.loads(said)
    assert status == (0 if account["ok"] else 1), told
    return account


def run(root: Path, folder: Path) -> tuple[int, str, str]:
    process = subprocess.Popen(
        [sys.executable, "examples/bookinfo/demo.py", "--json", "--keep"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root / "src"), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, told = process.communicate(timeout=160)
    finally:
        # Whatever became of the demo, its services must not outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said, told


def test_the_account_has_six_scenes_and_a_verdict(account: Account) -> None:
    assert account.keys() == {"scenes", "seen", "seconds", "ok"}
    assert [scene["name"][:2] for scene in account["scenes"]] == [f"{letter}:" for letter in FACTS]
    assert account["ok"] is all(scene["ok"] for scene in account["scenes"])
    assert account["seconds"] > 0


@pytest.mark.parametrize("letter", FACTS)
def test_a_scene_goes_as_it_should_without_a_failed_call(account: Account, letter: str) -> None:
    (scene,) = (scene for scene in account["scenes"] if scene["name"].startswith(letter))
    told = json.dumps(scene, indent=2)
    assert scene.keys() >= {"calls", "failed", "ok"} | FACTS[letter]
    assert scene["calls"] > 0
    assert scene["failed"] == 0, told
    assert scene["ok"], told


def test_prometheus_would_see_who_calls_whom(account: Account) -> None:
    edges = {(edge["from"], edge["to"]): edge for edge in account["seen"]}
    reviews = {("productpage-v1", f"reviews-{version}") for version in ("v1", "v2", "v3")}
    ratings = {(f"reviews-{version}", "ratings-v1") for version in ("v2", "v3")}
    others = {("unknown", "productpage-v1"), ("productpage-v1", "details-v1")}
    assert edges.keys() == reviews | ratings | others
    for edge in edges.values():
        assert edge["success"] > 99
        assert edge["mtls"] == 0
    pages = edges["unknown", "productpage-v1"]["calls"]
    assert edges["productpage-v1", "details-v1"]["calls"] == pages


def test_one_request_is_traced_through_four_services(account: Account) -> None:
    assert account["scenes"][-1]["path"] == PATH
