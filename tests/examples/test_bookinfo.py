"""The demo that everybody runs first, run as everybody runs it: ``demo.py --json``."""

import json
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
def account(demo: Any) -> Account:
    """What the demo says of itself, as JSON on stdout; what its services logged, if it fails."""
    ran = demo("--keep", seconds=160)
    if ran.status:
        for log in sorted(ran.folder.glob("bookinfo-*/logs/*")):
            print(f"--- {log.name}\n{log.read_text()[-2000:]}")
    assert ran.said, f"exit status {ran.status}, and no account\n{ran.told}"
    account: Account = json.loads(ran.said)
    assert ran.status == (0 if account["ok"] else 1), ran.told
    return account


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
