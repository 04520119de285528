"""Copies of calls for other clusters."""

from typing import Any

import pytest

from meshlib.dataplane import CallEnded, Spawn
from meshlib.model import (
    CircuitBreakers,
    Cluster,
    Percentage,
    RequestMirrorPolicy,
    RouteAction,
    Snapshot,
    Static,
    Thresholds,
    gather,
)
from meshlib.testing import (
    REVIEWS,
    A,
    B,
    VirtualMesh,
    always,
    assignment,
    fails_with,
    get,
    ok,
    one_service,
    play,
    play_alike,
    refuses,
    rpc,
    said,
    slow,
)

GET = get(REVIEWS, "/path")
TO_SHADOW = RequestMirrorPolicy(cluster="shadow")


def snapshot_with(
    *policies: RequestMirrorPolicy, timeout: float | None = None, **fields: Any
) -> Snapshot:
    """``reviews`` at A, and a cluster for the copies at B."""
    action = RouteAction(
        cluster="reviews", request_mirror_policies=policies, timeout=timeout, **fields
    )
    real = one_service([A], action=action)
    limits = CircuitBreakers(default=Thresholds(max_requests=1))
    shadow = Cluster(
        name="shadow",
        discovery=Static(assignment([B], name="shadow")),
        circuit_breakers=limits,
    )
    return gather(listeners=real.listeners.values(), clusters=[*real.clusters.values(), shadow])


def mirroring(*policies: RequestMirrorPolicy, b: Any = None, **fields: Any) -> VirtualMesh:
    dice = fields.pop("dice", None)
    return VirtualMesh(
        snapshot_with(*(policies or (TO_SHADOW,)), **fields), {A: ok(), B: b or ok()}, dice=dice
    )


def spawned(mesh: VirtualMesh, **fields: Any) -> list[dict[str, Any]]:
    return [event for event in play(mesh, get(REVIEWS, **fields)).trace if event["what"] == "spawn"]


@pytest.mark.parametrize("b", [ok(), fails_with(500), refuses(), slow(99.0)])
def test_whatever_becomes_of_a_copy_the_call_never_hears(b: Any) -> None:
    (call,) = play_alike(lambda: mirroring(b=b), GET)
    assert (said(call.outcome), call.attempts, call.elapsed) == ("200", [A], 0.0)
    (copy,) = (event for event in call.trace if event["what"] == "spawn")
    assert (copy["endpoint"], copy["path"]) == (B, "/path")


@pytest.mark.parametrize(
    ("authority", "copied"),
    [
        ("", "reviews-shadow:9080"),
        ("reviews.example", "reviews.example-shadow"),
        ("reviews.example:80", "reviews.example-shadow:80"),
        ("[::1]", "[::1]-shadow"),
    ],
)
def test_the_copy_is_for_the_hosts_shadow(authority: str, copied: str) -> None:
    (copy,) = spawned(mirroring(), authority=authority)
    assert copy["authority"] == copied


def test_the_suffix_can_be_switched_off() -> None:
    plain = RequestMirrorPolicy(cluster="shadow", disable_shadow_host_suffix_append=True)
    (copy,) = spawned(mirroring(plain))
    assert copy["authority"] == REVIEWS


def test_the_copy_is_of_what_the_route_makes_of_the_call() -> None:
    (copy,) = spawned(mirroring(prefix_rewrite="/new", host_rewrite_literal="other"), path="/x")
    assert (copy["authority"], copy["path"]) == ("other-shadow", "/new/x")


def test_a_share_of_the_calls_is_copied() -> None:
    some = RequestMirrorPolicy(cluster="shadow", runtime_fraction=Percentage(numerator=50))
    assert len(spawned(mirroring(some, dice=always(0.49)))) == 1
    assert spawned(mirroring(some, dice=always(0.5))) == []


def test_several_policies_each_have_their_share() -> None:
    never = RequestMirrorPolicy(cluster="shadow", runtime_fraction=Percentage(numerator=0))
    assert len(spawned(mirroring(TO_SHADOW, never, TO_SHADOW))) == 2


def test_a_copy_has_the_calls_time_but_five_seconds_at_most() -> None:
    assert spawned(mirroring(timeout=2.0))[0]["timeout"] == 2.0
    assert spawned(mirroring(timeout=60.0))[0]["timeout"] == 5.0


@pytest.mark.parametrize("fields", [{"replayable": False}, {"streaming": True}])
def test_what_cannot_be_copied_is_not(fields: dict[str, bool]) -> None:
    call = play(mirroring(), rpc(REVIEWS, **fields))
    assert [event["what"] for event in call.trace] == ["send", "deliver"]


def test_a_cluster_that_is_not_there_gets_no_copies() -> None:
    assert spawned(mirroring(RequestMirrorPolicy(cluster="nowhere"))) == []


def test_a_copy_is_no_part_of_the_call_and_says_so() -> None:
    mesh = mirroring()
    play(mesh, GET)
    copy, call = (event for event in mesh.events if isinstance(event, CallEnded))
    assert (copy.record.mirror, call.record.mirror) == (True, False)
    assert (call.record.attempts, call.record.report(call.outcome).cluster) == (1, "reviews")
    assert copy.record.report(copy.outcome).cluster == "shadow"


def test_copies_have_the_limits_of_their_cluster_and_give_back_what_they_took() -> None:
    mesh = mirroring()
    shadow = mesh.engine.clusters["shadow"]
    shadow.breaker.concurrency.active = 1
    assert spawned(mesh)[0]["endpoint"] is None
    shadow.breaker.concurrency.active = 0
    assert spawned(mesh)[0]["endpoint"] == B
    (endpoint,) = shadow.balance.endpoints.values()
    assert (shadow.breaker.concurrency.active, endpoint.active) == (0, 0)
    assert mesh.engine.around.mirrored == 0


def test_no_more_than_a_hundred_copies_are_under_way() -> None:
    mesh = mirroring()
    mesh.engine.around.mirrored = 100
    assert spawned(mesh) == []
    mesh.engine.around.mirrored = 99
    assert spawned(mesh)[0]["endpoint"] == B


def test_copies_that_were_under_way_before_a_fork_take_no_room_after_it() -> None:
    mesh = mirroring()
    around, steps = mesh.engine.around, mesh.engine.outbound(GET)
    copy = next(steps)
    assert isinstance(copy, Spawn)
    next(copy.steps)
    assert around.mirrored == 1
    mesh.engine.renew()
    assert around.mirrored == 0
