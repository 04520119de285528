from dataclasses import replace

import pytest

from meshlib.dataplane import Cause, Failure, Override, Response, Sleep
from meshlib.dataplane.deadline import LONGEST
from meshlib.model import (
    ALWAYS,
    FAULT,
    Exact,
    Fault,
    FaultAbort,
    FaultDelay,
    FilterOverride,
    HeaderMatcher,
    HttpFilter,
    Percentage,
    RetryPolicy,
    Route,
    RouteAction,
)
from meshlib.testing import (
    REVIEWS,
    A,
    B,
    fails_with,
    get,
    ok,
    one_service,
    play,
    play_alike,
    rpc,
    said,
    scripted,
)

HALF = Percentage(numerator=50)


def fault(**fields) -> tuple[HttpFilter, ...]:
    return (replace(FAULT, config=Fault(**fields)),)


def abort(http_status=None, grpc_status=None, percentage=ALWAYS) -> FaultAbort:
    return FaultAbort(http_status=http_status, grpc_status=grpc_status, percentage=percentage)


def test_an_abort_answers_without_an_attempt(filtered) -> None:
    (call,) = play_alike(lambda: filtered(fault(abort=abort(503))), get(REVIEWS))
    assert call.attempts == []
    assert call.outcome == Response(
        503,
        (("content-length", "18"), ("content-type", "text/plain")),
        body=b"fault filter abort",
    )


def test_an_abort_is_flagged(filtered) -> None:
    mesh = filtered(fault(abort=abort(503)))
    play(mesh, get(REVIEWS))
    (ended,) = [event for event in mesh.events if hasattr(event, "record")]
    assert ended.record.report(ended.outcome).flags == ("FI",)


@pytest.mark.parametrize(
    ("given", "status"),
    [({"http_status": 404}, 12), ({"http_status": 500}, 2), ({"grpc_status": 5}, 5)],
)
def test_an_abort_of_a_grpc_call_has_a_grpc_status(filtered, given, status) -> None:
    (call,) = play_alike(lambda: filtered(fault(abort=abort(**given))), rpc(REVIEWS))
    assert call.outcome == Failure(Cause.FAULT, "fault filter abort", status)


def test_a_grpc_status_is_a_200_with_words_to_http_as_envoy_has_it(filtered) -> None:
    call = play(filtered(fault(abort=abort(grpc_status=5))), get(REVIEWS))
    assert said(call.outcome) == "200"
    assert call.attempts == []


def test_an_abort_with_ok_fails_a_grpc_call_that_waits_for_a_message(filtered) -> None:
    call = play(filtered(fault(abort=abort(grpc_status=0))), rpc(REVIEWS))
    assert isinstance(call.outcome, Failure)
    assert call.outcome.grpc_status == 13


def test_a_delay_comes_before_the_first_attempt(filtered) -> None:
    delay = FaultDelay(fixed_delay=5.0, percentage=ALWAYS)
    (call,) = play_alike(lambda: filtered(fault(delay=delay)), get(REVIEWS))
    assert [event["what"] for event in call.trace] == ["sleep", "send", "deliver"]
    assert call.elapsed == 5.0


def test_a_delay_and_then_an_abort(filtered) -> None:
    delay = FaultDelay(fixed_delay=2.0, percentage=ALWAYS)
    mesh = filtered(fault(delay=delay, abort=abort(500)))
    call = play(mesh, get(REVIEWS))
    assert [event["what"] for event in call.trace] == ["sleep", "deliver"]
    assert said(call.outcome) == "500"
    assert mesh.events[-1].record.flags == ("DI", "FI")


def test_delay_and_abort_are_rolled_for_apart(filtered) -> None:
    delay = FaultDelay(fixed_delay=1.0, percentage=HALF)
    config = fault(delay=delay, abort=abort(500, percentage=HALF))
    dice = scripted([0.4, 0.6, 0.6, 0.4])
    mesh = filtered(config, dice=dice)
    first, second = play(mesh, get(REVIEWS)), play(mesh, get(REVIEWS))
    assert (first.elapsed, said(first.outcome)) == (1.0, "200")
    assert (second.elapsed, said(second.outcome)) == (0.0, "500")


@pytest.mark.parametrize("aborts", [False, True])
def test_a_delay_lasts_no_longer_than_a_block_of_code_asked_for(filtered, aborts) -> None:
    request = get(REVIEWS, override=Override(timeout=0.5))
    more = {"abort": FaultAbort(http_status=418, percentage=ALWAYS)} if aborts else {}
    delay = FaultDelay(fixed_delay=2.0, percentage=ALWAYS)
    (call,) = play_alike(lambda: filtered(fault(delay=delay, **more)), request)
    assert call.elapsed == 0.5
    assert said(call.outcome) == "DT"
    assert not call.attempts


def test_a_delay_lasts_no_longer_than_the_callers_deadline(filtered) -> None:
    delay = FaultDelay(fixed_delay=5.0, percentage=ALWAYS)
    (call,) = play_alike(lambda: filtered(fault(delay=delay)), rpc(REVIEWS, deadline=1.5))
    assert call.elapsed == 1.5
    assert isinstance(call.outcome, Failure)
    assert (call.outcome.cause, call.outcome.grpc_status) == (Cause.DEADLINE, 4)
    assert call.attempts == []


def test_the_time_out_of_a_route_begins_after_the_delay_for_http_alone(filtered) -> None:
    delay = FaultDelay(fixed_delay=5.0, percentage=ALWAYS)
    action = RouteAction(cluster="reviews", timeout=1.0)
    (call,) = play_alike(lambda: filtered(fault(delay=delay), action=action), get(REVIEWS))
    assert (said(call.outcome), call.trace[1]["timeout"]) == ("200", 1.0)
    late = play(filtered(fault(delay=delay), action=action), rpc(REVIEWS)).outcome
    assert isinstance(late, Failure)
    assert late.grpc_status == 4
    asked = get(REVIEWS, override=Override(timeout=2.0))
    assert isinstance(play(filtered(fault(delay=delay), action=action), asked).outcome, Failure)


def test_an_abort_is_not_retried_but_the_failures_behind_a_delay_are(filtered) -> None:
    policy = RetryPolicy(retry_on=("5xx",), num_retries=2)
    action = RouteAction(cluster="reviews", retry_policy=policy)
    aborted = play(filtered(fault(abort=abort(503)), action=action), get(REVIEWS))
    assert (said(aborted.outcome), aborted.attempts) == ("503", [])
    delay = FaultDelay(fixed_delay=1.0, percentage=ALWAYS)
    upstreams = {A: ok(), B: ok()}
    mesh = filtered(fault(delay=delay), upstreams, action=action)
    mesh.script({A: fails_with(503), B: ok()})
    delayed = play(mesh, get(REVIEWS))
    done = [event["what"] for event in delayed.trace if event["what"] != "deliver"]
    assert (done[0], done.count("send")) == ("sleep", 2)


def test_the_caller_asks_for_faults_by_headers(filtered) -> None:
    config = fault(delay=FaultDelay(fixed_delay=None, percentage=ALWAYS), abort=abort())
    headers = (("x-envoy-fault-delay-request", "1500"), ("x-envoy-fault-abort-request", "418"))
    call = play(filtered(config), get(REVIEWS, headers=headers))
    assert (call.elapsed, said(call.outcome)) == (1.5, "418")
    assert said(play(filtered(config), get(REVIEWS)).outcome) == "200"


def test_the_caller_asks_for_a_grpc_status(filtered) -> None:
    headers = (("x-envoy-fault-abort-grpc-request", "8"),)
    call = play(filtered(fault(abort=abort())), rpc(REVIEWS, headers=headers))
    assert isinstance(call.outcome, Failure)
    assert call.outcome.grpc_status == 8


@pytest.mark.parametrize("status", ["99", "199", "600", "-5", "many", "٤٠٤", ""])
def test_a_header_that_is_no_status_aborts_nothing(filtered, status) -> None:
    headers = (("x-envoy-fault-abort-request", status),)
    assert (
        said(play(filtered(fault(abort=abort())), get(REVIEWS, headers=headers)).outcome) == "200"
    )


@pytest.mark.parametrize(
    ("wanted", "roll", "outcome"),
    [
        ("90", 0.6, "200"),
        ("90", 0.4, "500"),
        ("20", 0.4, "200"),
        ("20", 0.1, "500"),
        ("x", 0.4, "500"),
    ],
)
def test_a_caller_may_ask_for_fewer_faults_never_for_more(filtered, wanted, roll, outcome) -> None:
    headers = (
        ("x-envoy-fault-abort-request", "500"),
        ("x-envoy-fault-abort-request-percentage", wanted),
    )
    mesh = filtered(fault(abort=abort(percentage=HALF)), dice=scripted([roll]))
    assert said(play(mesh, get(REVIEWS, headers=headers)).outcome) == outcome


def test_only_requests_that_match_the_headers_suffer(filtered) -> None:
    matcher = HeaderMatcher(name="x-user", match=Exact("jason"))
    config = fault(abort=abort(500), headers=(matcher,))
    mesh = filtered(config)
    assert said(play(mesh, get(REVIEWS)).outcome) == "200"
    assert said(play(mesh, get(REVIEWS, headers=(("x-user", "jason"),))).outcome) == "500"


def test_only_calls_to_the_named_cluster_suffer(filtered) -> None:
    named = fault(abort=abort(500), upstream_cluster="reviews")
    other = fault(abort=abort(500), upstream_cluster="ratings")
    assert said(play(filtered(named), get(REVIEWS)).outcome) == "500"
    assert said(play(filtered(other), get(REVIEWS)).outcome) == "200"


def test_no_more_than_so_many_calls_suffer_at_once_over_configurations(
    filtered, filters_on
) -> None:
    config = fault(delay=FaultDelay(fixed_delay=1.0, percentage=ALWAYS), max_active_faults=1)
    mesh = filtered(config)
    held = play(mesh, get(REVIEWS), hold=True)
    assert held.elapsed == 1.0
    assert play(mesh, get(REVIEWS)).elapsed == 0.0
    again = fault(delay=FaultDelay(fixed_delay=2.0, percentage=ALWAYS), max_active_faults=1)
    mesh.apply(filters_on(one_service((A,)), again))
    assert play(mesh, get(REVIEWS)).elapsed == 0.0
    held.end()
    assert play(mesh, get(REVIEWS)).elapsed == 2.0


def test_what_calls_suffer_is_counted_where_it_is_configured(filtered) -> None:
    delay = FaultDelay(fixed_delay=1.0, percentage=ALWAYS)
    mesh = filtered(fault(delay=delay, abort=abort(500), max_active_faults=1))
    (table,) = mesh.engine.active_faults
    held = play(mesh, get(REVIEWS), hold=True)
    assert mesh.engine.active_faults == {table: 1}
    play(mesh, get(REVIEWS))
    held.end()
    assert mesh.engine.active_faults == {table: 0}
    assert mesh.engine.faults == {
        f"{table}/{FAULT.name}": {
            "delays_injected": 1,
            "aborts_injected": 1,
            "faults_overflow": 2,
        }
    }


def test_a_caller_who_leaves_gives_its_place_back(filtered) -> None:
    config = fault(delay=FaultDelay(fixed_delay=1.0, percentage=ALWAYS), max_active_faults=1)
    mesh = filtered(config)
    steps = mesh.engine.outbound(get(REVIEWS))
    next(steps)
    steps.close()
    assert play(mesh, get(REVIEWS)).elapsed == 1.0


def test_a_route_has_faults_of_its_own(filtered) -> None:
    override = FilterOverride(name=FAULT.name, config=Fault(abort=abort(418)))
    route = Route(action=RouteAction(cluster="reviews"), overrides=(override,))
    call = play(filtered((FAULT,), routes=(route,)), get(REVIEWS))
    assert said(call.outcome) == "418"


def test_a_share_of_nothing_is_no_filter_at_all(filtered) -> None:
    never = abort(500, percentage=Percentage(numerator=0))
    mesh = filtered(fault(abort=never), dice=scripted([]))
    route = mesh.engine.listeners[REVIEWS].router.table.find(get(REVIEWS))
    assert route.only_destination.filters == ()


def test_a_delay_is_no_longer_than_a_thread_can_wait(filtered) -> None:
    delay = FaultDelay(fixed_delay=315_576_000_000.0, percentage=ALWAYS)
    effect = next(filtered(fault(delay=delay)).engine.outbound(get(REVIEWS)))
    assert effect == Sleep(LONGEST)
