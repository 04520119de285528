"""The demo with certificates and policies: ``demo.py --mtls --json``."""

import json
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
def scenes(demo: Any) -> dict[str, Any]:
    ran = demo("--mtls", "--scenes", "", seconds=100)
    assert ran.said, ran.told
    return {scene["name"][0]: scene for scene in json.loads(ran.said)["scenes"]}


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
