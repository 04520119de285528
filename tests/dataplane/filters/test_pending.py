"""Calls that wait in line for a connection."""

from typing import Any

import pytest

from meshlib.model import CircuitBreakers, HttpProtocolOptions, RouteAction, Thresholds
from meshlib.testing import (
    REVIEWS,
    A,
    Played,
    VirtualMesh,
    get,
    ok,
    one_service,
    play,
    rpc,
    said,
)

GET = get(REVIEWS)
ONE = Thresholds(max_connections=1)


def narrow(
    *, pending: int = 9, timeout: float | None = 15.0, upstream: Any = None, **cluster: Any
) -> VirtualMesh:
    """One connection, which takes one call at a time."""
    limits = Thresholds(max_connections=1, max_pending_requests=pending)
    snapshot = one_service(
        [A],
        action=RouteAction(cluster="reviews", timeout=timeout),
        circuit_breakers=CircuitBreakers(default=limits, high=limits),
        **cluster,
    )
    return VirtualMesh(snapshot, {A: upstream or ok()})


def nothing_held(mesh: VirtualMesh) -> bool:
    cluster = mesh.engine.clusters["reviews"]
    endpoints = cluster.balance.endpoints.values()
    counts = [breaker.concurrency.active for breaker in (cluster.breaker, cluster.high)]
    return not (any(counts) or cluster.breaker.waiting or any(e.active for e in endpoints))


def what(call: Played) -> list[str]:
    return [event["what"] for event in call.trace]


@pytest.mark.parametrize("driver", ["blocking", "awaiting"])
@pytest.mark.parametrize("how", ["end", "drop"])
def test_a_call_waits_until_another_lets_go(driver: Any, how: str) -> None:
    mesh = narrow()
    first = play(mesh, GET, driver=driver, hold=True)
    mesh.at(2.0, first.end if how == "end" else first.drop)
    second = play(mesh, GET, driver=driver)
    assert what(second) == ["await_turn", "send", "deliver"]
    assert second.elapsed == 2.0
    assert nothing_held(mesh)


def test_the_time_in_line_is_part_of_the_calls_time() -> None:
    mesh = narrow(timeout=5.0)
    first = play(mesh, GET, hold=True)
    mesh.at(2.0, first.end)
    second = play(mesh, GET)
    assert [event["timeout"] for event in second.trace[:2]] == [5.0, 3.0]


def test_who_waits_too_long_leaves_the_line() -> None:
    mesh = narrow(timeout=5.0)
    first = play(mesh, GET, hold=True)
    second = play(mesh, GET)
    assert (said(second.outcome), second.attempts, second.elapsed) == ("UT", [], 5.0)
    first.end()
    assert nothing_held(mesh)
    assert said(play(mesh, GET).outcome) == "200"


def test_a_line_that_is_full_takes_nobody() -> None:
    mesh = narrow(pending=0)
    first = play(mesh, GET, hold=True)
    refused = play(mesh, GET)
    assert said(refused.outcome) == "UO"
    assert "overflow: 0 calls to reviews in line" in str(refused.outcome)
    first.end()
    assert nothing_held(mesh)


def test_connections_that_are_shared_keep_nobody_waiting() -> None:
    mesh = narrow(http_protocol_options=HttpProtocolOptions(http2=True))
    calls = [play(mesh, GET, hold=True) for _ in range(3)]
    assert [what(call) for call in calls] == [["send", "deliver"]] * 3
    for call in calls:
        call.end()
    assert nothing_held(mesh)


def test_grpc_shares_connections_whatever_the_cluster_says() -> None:
    mesh = narrow()
    first, second = (play(mesh, rpc(REVIEWS), hold=True) for _ in range(2))
    assert what(second) == ["send", "deliver"]
    first.end()
    second.end()
    assert nothing_held(mesh)


def test_a_call_that_nobody_can_take_passes_its_turn_on() -> None:
    mesh = narrow()
    first = play(mesh, GET, hold=True)
    nobody = one_service([], circuit_breakers=CircuitBreakers(default=ONE))
    mesh.at(1.0, lambda: mesh.apply(nobody))
    mesh.at(2.0, first.end)
    second = play(mesh, GET)
    assert (said(second.outcome), second.elapsed) == ("UH", 2.0)
    assert nothing_held(mesh)


def test_priorities_have_limits_of_their_own() -> None:
    low, high = Thresholds(max_requests=1), Thresholds(max_requests=2)
    limits = CircuitBreakers(default=low, high=high)

    def mesh_of(priority: str) -> VirtualMesh:
        action = RouteAction(cluster="reviews", priority=priority)
        return VirtualMesh(one_service([A], action=action, circuit_breakers=limits))

    for priority, allowed in (("default", 1), ("high", 2)):
        mesh = mesh_of(priority)
        held = [play(mesh, GET, hold=True) for _ in range(3)]
        assert [said(call.outcome) for call in held].count("200") == allowed
        for call in held[:allowed]:
            call.end()
        assert nothing_held(mesh)
