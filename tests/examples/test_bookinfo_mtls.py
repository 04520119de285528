"""The demo with certificates and policies: ``demo.py --mtls --json``."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(120)

SA = "spiffe://cluster.local/ns/default/sa/"
WAYS = [
    {"peer": SA + "visitor", "id": SA + "productpage"},
    {"peer": SA + "productpage", "id": SA + "details"},
    {"peer": SA + "productpage", "id": SA + "reviews"},
    {"peer": SA + "reviews", "id": SA + "ratings"},
]


@pytest.fixture(scope="module")
def scenes(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("demo")
    process = subprocess.Popen(
        [sys.executable, "examples/bookinfo/demo.py", "--mtls", "--json", "--scenes", ""],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root / "src"), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, told = process.communicate(timeout=100)
    finally:
        # Whatever became of the demo, its services must not outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert said, told
    return {scene["name"][0]: scene for scene in json.loads(said)["scenes"]}


def test_every_hop_is_between_two_who_have_proven_who_they_are(scenes: dict[str, Any]) -> None:
    scene = scenes["g"]
    assert scene["identities"] == WAYS
    assert (scene["calls"], scene["failed"]) == (1000, 0), scene["errors"]


def test_no_stranger_is_let_in(scenes: dict[str, Any]) -> None:
    refusals = scenes["h"]["refusals"]
    assert len(refusals) == 7
    assert all(refusals.values()), refusals
    assert refusals["a stranger's, HTTP"] == "403 RBAC: access denied"
    assert refusals["a stranger's, gRPC"] == "PERMISSION_DENIED: RBAC: access denied"


def test_productpage_may_not_call_ratings_and_reviews_may(scenes: dict[str, Any]) -> None:
    assert scenes["i"]["productpage"] == "PERMISSION_DENIED: RBAC: access denied"
    assert scenes["i"]["reviews"] == "answered"
