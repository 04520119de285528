"""Attempts beside each other, played under both loops."""

from typing import Any

import pytest

from meshlib.dataplane import (
    AttemptCancelled,
    CallEnded,
    Cause,
    Deliver,
    Failure,
    Finish,
    Override,
    Race,
    Response,
    RetryDenied,
    TriedAgain,
)
from meshlib.model import (
    CircuitBreakers,
    HedgePolicy,
    RetryBudget,
    RetryPolicy,
    RouteAction,
    Thresholds,
)
from meshlib.testing import (
    REVIEWS,
    A,
    B,
    C,
    Played,
    Reply,
    VirtualMesh,
    fails_with,
    get,
    grpc_status,
    hangs_up,
    ok,
    one_service,
    play,
    play_alike,
    refuses,
    rpc,
    said,
    slow,
)

GET = get(REVIEWS)
ON_TIMEOUT = HedgePolicy(hedge_on_per_try_timeout=True)
RETRY = RetryPolicy(retry_on=("5xx",), num_retries=2, per_try_timeout=0.1, previous_hosts=True)
FROM_A, FROM_B, FROM_C = (ok((("from", place),)) for place in (A, B, C))


def hedging(
    upstreams: dict[str, Any],
    *,
    hedge: HedgePolicy = ON_TIMEOUT,
    retry: RetryPolicy | None = RETRY,
    timeout: float | None = None,
    **thresholds: Any,
) -> VirtualMesh:
    action = RouteAction(cluster="reviews", hedge_policy=hedge, retry_policy=retry, timeout=timeout)
    limits = CircuitBreakers(default=Thresholds(**thresholds))
    return VirtualMesh(one_service(upstreams, action=action, circuit_breakers=limits), upstreams)


def alike(upstreams: dict[str, Reply], **fields: Any) -> Played:
    def make() -> VirtualMesh:
        mesh = hedging(upstreams, **fields)
        meshes.append(mesh)
        return mesh

    meshes: list[VirtualMesh] = []
    (call,) = play_alike(make, GET)
    for mesh in meshes:
        assert nothing_held(mesh)
    return call


def nothing_held(mesh: VirtualMesh) -> bool:
    cluster = mesh.engine.clusters["reviews"]
    counts = cluster.breaker.concurrency
    endpoints = cluster.balance.endpoints.values()
    return (counts.active, counts.retries, sum(e.active for e in endpoints)) == (0, 0, 0)


def begun(call: Played) -> list[tuple[float, str]]:
    return [(event["at"], event["endpoint"]) for event in call.trace if event["what"] == "send"]


def test_a_slow_try_goes_on_while_the_next_one_begins() -> None:
    call = alike({A: slow(0.3, FROM_A), B: slow(1.0, FROM_B), C: slow(1.0, FROM_C)})
    assert begun(call) == [(0.0, A), (0.1, B), (0.2, C)]
    assert call.outcome == FROM_A.outcome
    assert call.elapsed == pytest.approx(0.3)


def test_the_first_good_answer_wins() -> None:
    call = alike({A: slow(5.0, FROM_A), B: slow(0.05, FROM_B), C: FROM_C})
    assert begun(call) == [(0.0, A), (0.1, B)]
    assert call.outcome == FROM_B.outcome
    assert call.elapsed == pytest.approx(0.15)


def test_a_fast_answer_needs_no_second_try() -> None:
    call = alike({A: FROM_A, B: FROM_B})
    assert begun(call) == [(0.0, A)]


def test_a_bad_answer_is_not_taken_while_others_are_under_way() -> None:
    call = alike({A: slow(0.15, fails_with(503)), B: slow(0.3, FROM_B), C: slow(9.0)})
    assert call.outcome == FROM_B.outcome


def test_when_all_have_failed_the_last_failure_is_the_answer() -> None:
    call = alike({A: fails_with(503), B: fails_with(502), C: fails_with(500)})
    assert [place for _, place in begun(call)] == [A, B, C]
    assert call.outcome == Response(500)


def test_an_answer_that_nobody_wants_again_is_delivered_at_once() -> None:
    call = alike({A: slow(5.0), B: slow(0.05, fails_with(404)), C: slow(5.0)})
    assert call.outcome == Response(404)
    assert call.elapsed == pytest.approx(0.15)


def test_an_attempt_has_the_time_of_the_whole_call() -> None:
    call = alike({A: slow(9.0), B: slow(9.0), C: slow(9.0)}, timeout=1.0)
    assert [event["timeout"] for event in call.trace if event["what"] == "send"] == [1.0, 0.9, 0.8]
    assert said(call.outcome) == "UT"
    assert call.elapsed == pytest.approx(1.0)


def test_attempts_begin_one_after_the_other_by_the_delay() -> None:
    hedge = HedgePolicy(initial_requests=3, hedging_delay=0.02)
    call = alike({A: slow(1.0), B: slow(1.0), C: slow(0.5, FROM_C)}, hedge=hedge, retry=None)
    assert begun(call) == [(0.0, A), (0.02, B), (0.04, C)]
    assert call.outcome == FROM_C.outcome


def test_without_a_delay_all_begin_at_once() -> None:
    hedge = HedgePolicy(initial_requests=3)
    call = alike({A: slow(3.0), B: slow(1.0, FROM_B), C: slow(2.0)}, hedge=hedge, retry=None)
    assert begun(call) == [(0.0, A), (0.0, B), (0.0, C)]
    assert call.outcome == FROM_B.outcome


def test_what_is_not_fatal_begins_the_next_at_once() -> None:
    hedge = HedgePolicy(initial_requests=2, hedging_delay=1.0)
    call = alike({A: slow(0.2, fails_with(503)), B: FROM_B}, hedge=hedge, retry=None)
    assert begun(call) == [(0.0, A), (0.2, B)]


def test_more_than_five_are_five() -> None:
    hedge = HedgePolicy(initial_requests=9)
    call = alike({A: slow(1.0)}, hedge=hedge, retry=None, max_retries=99)
    assert len(begun(call)) == 5


def test_a_share_of_the_calls_gets_one_more() -> None:
    hedge = HedgePolicy(additional_request_chance=50.0)
    assert len(begun(alike({A: slow(1.0), B: slow(1.0)}, hedge=hedge, retry=None))) == 2
    never = HedgePolicy(additional_request_chance=0.0, hedge_on_per_try_timeout=True)
    assert len(begun(alike({A: slow(1.0), B: slow(1.0)}, hedge=never, retry=None))) == 1


def test_a_server_that_says_no_is_not_asked_again() -> None:
    stop = grpc_status(14, (("grpc-retry-pushback-ms", "-1"),))
    mesh = hedging({A: stop, B: ok()}, hedge=HedgePolicy(initial_requests=3, hedging_delay=1.0))
    call = play(mesh, rpc(REVIEWS))
    assert call.attempts == [A]
    assert said(call.outcome) == "grpc 14"


def test_a_server_that_says_later_is_asked_later() -> None:
    later = grpc_status(14, (("grpc-retry-pushback-ms", "250"),))
    hedge = HedgePolicy(initial_requests=2, hedging_delay=5.0)
    mesh = hedging({A: later, B: grpc_status(0)}, hedge=hedge, retry=None)
    assert begun(play(mesh, rpc(REVIEWS))) == [(0.0, A), (0.25, B)]


def test_an_endpoint_that_cannot_be_reached_is_replaced_at_no_cost() -> None:
    call = alike({A: refuses(), B: FROM_B}, max_retries=0)
    assert begun(call) == [(0.0, A), (0.0, B)]


def test_hedges_are_retries_for_the_budget() -> None:
    nothing = RetryBudget(budget_percent=0.0, min_retry_concurrency=0)
    hedge = HedgePolicy(initial_requests=3)
    call = alike({A: slow(1.0), B: slow(1.0)}, hedge=hedge, retry_budget=nothing)
    assert begun(call) == [(0.0, A)]
    one = RetryBudget(budget_percent=0.0, min_retry_concurrency=1)
    call = alike({A: slow(1.0), B: slow(1.0)}, hedge=hedge, retry_budget=one)
    assert len(begun(call)) == 2


def test_what_is_denied_of_attempts_beside_each_other_is_told() -> None:
    nothing = RetryBudget(budget_percent=0.0, min_retry_concurrency=0)
    hedge = HedgePolicy(initial_requests=2)
    assert denied({A: slow(1.0), B: slow(1.0)}, hedge=hedge, retry_budget=nothing) == ["overflow"]
    failing = {A: fails_with(503), B: fails_with(503), C: fails_with(503)}
    assert denied(failing) == ["limit_exceeded"]
    assert denied({A: fails_with(404)}) == []


def denied(upstreams: dict[str, Reply], **fields: Any) -> list[str]:
    mesh = hedging(upstreams, **fields)
    play(mesh, GET)
    found = [event for event in mesh.events if isinstance(event, RetryDenied)]
    assert {event.cluster for event in found} <= {"reviews"}
    return [event.reason for event in found]


def test_an_attempt_more_must_find_room() -> None:
    hedge = HedgePolicy(initial_requests=3)
    call = alike({A: slow(1.0), B: slow(1.0)}, hedge=hedge, retry=None, max_requests=2)
    assert len(begun(call)) == 2


def test_a_hedged_call_overflows_like_any_other() -> None:
    mesh = hedging({A: ok()}, max_requests=1)
    held = play(mesh, GET, hold=True)
    assert said(play(mesh, GET).outcome) == "UO"
    held.end()
    assert nothing_held(mesh)


@pytest.mark.parametrize("fields", [{"replayable": False}, {"streaming": True}])
def test_what_cannot_be_sent_twice_at_once_is_not(fields: dict[str, bool]) -> None:
    mesh = hedging({A: slow(1.0), B: ok()}, hedge=HedgePolicy(initial_requests=3))
    assert play(mesh, rpc(REVIEWS, **fields)).attempts == [A]


def test_losers_are_let_go_when_the_winner_is_delivered() -> None:
    mesh = hedging({A: slow(1.0), B: slow(0.1)}, hedge=HedgePolicy(initial_requests=2))
    call = play(mesh, GET, hold=True)
    live = mesh.engine.clusters["reviews"].balance.endpoints
    assert (live[A].active, live[B].active) == (0, 1)
    assert mesh.engine.clusters["reviews"].breaker.concurrency.active == 1
    call.drop()
    assert nothing_held(mesh)


def test_a_caller_who_hangs_up_leaves_nothing_behind_and_is_counted() -> None:
    mesh = hedging({A: slow(1.0), B: hangs_up()}, hedge=HedgePolicy(initial_requests=2))
    assert said(play(mesh, GET).outcome) == "DC"
    assert nothing_held(mesh)
    assert [said(e.outcome) for e in mesh.events if isinstance(e, CallEnded)] == ["DC"]


def test_without_retries_a_slow_try_is_not_hedged() -> None:
    mesh = hedging({A: slow(1.0), B: ok()})
    request = get(REVIEWS, override=Override(retries=0))
    assert play(mesh, request).attempts == [A]
    assert nothing_held(mesh)


def test_the_report_knows_the_winner_and_all_attempts() -> None:
    mesh = hedging({A: slow(1.0), B: slow(0.1)}, hedge=HedgePolicy(initial_requests=2))
    play(mesh, GET)
    ended = mesh.events[-1]
    assert isinstance(ended, CallEnded)
    report = ended.record.report(ended.outcome)
    assert (report.endpoint, report.attempts) == (B, 2)


def test_it_is_told_when_the_winner_was_sent_and_when_each_loser() -> None:
    hedge = HedgePolicy(initial_requests=3, hedging_delay=0.1)
    mesh = hedging({A: slow(9.0), B: slow(0.15), C: slow(9.0)}, hedge=hedge)
    mesh.clock.now = 1000.0
    play(mesh, GET)
    ended = mesh.events[-1]
    assert isinstance(ended, CallEnded)
    assert ended.record.attempt_began == pytest.approx(1000.1)
    cancelled = [e.began for e in mesh.events if isinstance(e, AttemptCancelled)]
    assert cancelled == pytest.approx([1000.0, 1000.2])
    assert [e.why for e in mesh.events if isinstance(e, TriedAgain)] == ["hedge", "hedge"]
    assert ended.record.tries is not None
    assert (ended.record.tries.ended, ended.record.tries.idle) == (2, 0.0)


@pytest.mark.parametrize("number", [0, 1, 9])
def test_a_caller_whose_own_time_is_over_ends_all_attempts(number: int) -> None:
    mesh = hedging({A: ok(), B: ok()}, hedge=HedgePolicy(initial_requests=2))
    steps = mesh.engine.outbound(GET)
    late = Failure(Cause.DEADLINE, "the caller's time is over")
    assert isinstance(steps.send(None), Race)
    assert isinstance(steps.send(None), Race)
    deliver = steps.send(Finish(number, late))
    assert isinstance(deliver, Deliver)
    assert deliver.outcome == late
    with pytest.raises(StopIteration):
        steps.send(None)
    assert nothing_held(mesh)
