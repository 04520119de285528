"""Second tries: what servers, requests and the application say of them."""

from dataclasses import replace
from typing import Any

import pytest

from meshlib.dataplane import CallEnded, Options, Override, Request, Response, RetryDenied
from meshlib.dataplane.filters.again import MOST_REPICKED
from meshlib.model import (
    CircuitBreakers,
    Exact,
    HeaderMatcher,
    HttpConnectionManager,
    RateLimitedRetryBackOff,
    ResetHeader,
    RetryBudget,
    RetryPolicy,
    RouteAction,
    RouteConfiguration,
    Static,
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
    always,
    assignment,
    endpoint,
    fails_with,
    get,
    grpc_status,
    ok,
    one_service,
    play,
    play_alike,
    refuses,
    refuses_stream,
    resets,
    rpc,
    said,
    slow,
)

GET = get(REVIEWS)
POST = Request(REVIEWS, "POST", "/")
SLOWLY = RateLimitedRetryBackOff(
    reset_headers=(ResetHeader(name="Retry-After"), ResetHeader(name="X-RateLimit-Reset")),
    max_interval=60.0,
)


def retrying(
    first: Reply | list[Reply], *, num_retries: int = 1, dice: float = 0.0, **policy: Any
) -> VirtualMesh:
    """``first`` answers, then 200; by default every 5xx is retried."""
    policy.setdefault("retry_on", ("5xx",))
    retry = RetryPolicy(num_retries=num_retries, **policy)
    action = RouteAction(cluster="reviews", retry_policy=retry, timeout=0.0)
    firsts = first if isinstance(first, list) else [first]
    return VirtualMesh(one_service([A], action=action), {A: [*firsts, ok()]}, dice=always(dice))


def waits(call: Played) -> list[float]:
    return [event["seconds"] for event in call.trace if event["what"] == "sleep"]


# --- what the server says ---


def test_grpcs_pushback_says_when() -> None:
    later = grpc_status(14, (("grpc-retry-pushback-ms", "1500"),))
    make = lambda: retrying(later, retry_on=("unavailable",))  # noqa: E731
    (call,) = play_alike(make, rpc(REVIEWS))
    assert (waits(call), len(call.attempts)) == ([1.5], 2)


@pytest.mark.parametrize("said_so", ["-1", "", "soon", "1.5", "2147483648", "9" * 99])
def test_a_pushback_that_is_no_time_means_never(said_so: str) -> None:
    never = grpc_status(14, (("grpc-retry-pushback-ms", said_so),))
    assert len(play(retrying(never, retry_on=("unavailable",)), rpc(REVIEWS)).attempts) == 1


def test_a_pushback_beyond_the_deadline_means_never() -> None:
    later = grpc_status(14, (("grpc-retry-pushback-ms", "3000"),))
    call = play(retrying(later, retry_on=("unavailable",)), rpc(REVIEWS, deadline=2.0))
    assert (len(call.attempts), call.elapsed) == (1, 0.0)


def test_a_server_that_asks_for_an_age_in_its_retry_info_is_not_waited_for() -> None:
    never = grpc_status(14, (("x-meshlib-retry-info-ms", "9" * 15),))
    assert len(play(retrying(never, retry_on=("unavailable",)), rpc(REVIEWS)).attempts) == 1


def test_retry_info_is_the_least_time() -> None:
    later = grpc_status(14, (("x-meshlib-retry-info-ms", "700"),))
    assert waits(play(retrying(later, retry_on=("unavailable",)), rpc(REVIEWS))) == [0.7]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ((("retry-after", "7"),), 7.0),
        ((("x-ratelimit-reset", "9"),), 9.0),
        ((("retry-after", "61"), ("x-ratelimit-reset", "9")), 9.0),
        ((("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT"),), None),
        ((), None),
    ],
)
def test_a_server_that_limits_rates_says_when(headers: Any, wait: float | None) -> None:
    mesh = retrying(fails_with(503, headers), rate_limited_retry_back_off=SLOWLY)
    assert waits(play(mesh, GET)) == ([] if wait is None else [wait])


def test_such_waits_are_spread_over_half_as_much_again() -> None:
    limited = fails_with(503, (("retry-after", "10"),))
    mesh = retrying(limited, rate_limited_retry_back_off=SLOWLY, dice=0.5)
    assert waits(play(mesh, GET)) == [12.5]


def test_a_moment_of_the_day_counts_from_now() -> None:
    reset = ResetHeader(name="x-ratelimit-reset", format="unix_timestamp")
    limited = RateLimitedRetryBackOff(reset_headers=(reset,))
    policy = RetryPolicy(retry_on=("5xx",), rate_limited_retry_back_off=limited)
    action = RouteAction(cluster="reviews", retry_policy=policy, timeout=0.0)
    upstreams = {A: [fails_with(503, (("x-ratelimit-reset", "1030"),)), ok()]}
    options = Options(wall=lambda: 1000.0)
    mesh = VirtualMesh(one_service([A], action=action), upstreams, options=options)
    assert waits(play(mesh, GET)) == [30.0]


def test_retry_after_counts_only_where_it_is_asked_for() -> None:
    call = play(retrying(fails_with(503, (("retry-after", "7"),))), GET)
    assert (waits(call), len(call.attempts)) == ([], 2)


def test_a_server_that_limits_rates_is_left_alone_unless_it_is_asked_for() -> None:
    limited = fails_with(503, (("x-envoy-ratelimited", "true"),))
    assert len(play(retrying(limited), GET).attempts) == 1
    assert len(play(retrying(limited, retry_on=("envoy-ratelimited",)), GET).attempts) == 2


def test_an_overloaded_server_is_left_alone() -> None:
    overloaded = fails_with(503, (("x-envoy-overloaded", "true"),))
    assert len(play(retrying(overloaded), GET).attempts) == 1


def test_an_answer_may_be_bad_by_its_headers() -> None:
    matcher = HeaderMatcher(name="x-try-again", match=Exact("yes"))
    wanted = {"retry_on": ("retriable-headers",), "retriable_headers": (matcher,)}
    again = ok((("x-try-again", "yes"),))
    assert len(play(retrying(again, **wanted), GET).attempts) == 2
    assert len(play(retrying(ok(), **wanted), GET).attempts) == 1
    assert len(play(retrying(fails_with(503), **wanted), GET).attempts) == 1
    assert len(play(retrying(again, retriable_headers=(matcher,)), GET).attempts) == 1


def test_only_requests_that_match_are_tried_again() -> None:
    wanted = (HeaderMatcher(name="x-retry", match=Exact("yes")), HeaderMatcher(name="x-any"))
    make = lambda: retrying(fails_with(503), retriable_request_headers=wanted)  # noqa: E731
    assert len(play(make(), GET).attempts) == 1
    assert len(play(make(), get(REVIEWS, headers=(("x-retry", "yes"),))).attempts) == 2
    assert len(play(make(), get(REVIEWS, headers=(("x-any", ""),))).attempts) == 2


# --- time ---


def test_a_try_that_is_idle_is_given_up() -> None:
    mesh = retrying(slow(9.0), per_try_idle_timeout=0.2, per_try_timeout=0.5)
    call = play(mesh, GET)
    assert (len(call.attempts), call.elapsed) == (2, pytest.approx(0.2))


def test_a_stream_is_not_cut_off_by_the_time_of_a_try() -> None:
    mesh = retrying(slow(9.0), per_try_timeout=0.2)
    call = play(mesh, rpc(REVIEWS, streaming=True))
    assert call.trace[0]["timeout"] is None


def test_a_try_has_no_more_than_the_calls_time() -> None:
    mesh = retrying(slow(9.0), per_try_timeout=7.0)
    call = play(mesh, get(REVIEWS, deadline=3.0))
    assert (len(call.attempts), call.elapsed, said(call.outcome)) == (1, 3.0, "UT")


# --- whom to try ---


def test_other_priorities_are_tried_first() -> None:
    policy = RetryPolicy(retry_on=("5xx",), num_retries=3, previous_priorities=1)
    action = RouteAction(cluster="reviews", retry_policy=policy)
    cluster = Static(assignment([A], [B], [C]))
    upstreams = {place: fails_with(503) for place in (A, B, C)}
    make = lambda: VirtualMesh(  # noqa: E731
        one_service(discovery=cluster, action=action), upstreams
    )
    (call,) = play_alike(make, GET)
    assert call.attempts == [A, B, C, A]


def test_priorities_are_counted_anew_after_so_many_attempts() -> None:
    policy = RetryPolicy(retry_on=("5xx",), num_retries=3, previous_priorities=2)
    action = RouteAction(cluster="reviews", retry_policy=policy)
    cluster = Static(assignment([A], [B]))
    upstreams = {place: fails_with(503) for place in (A, B)}
    mesh = VirtualMesh(one_service(discovery=cluster, action=action), upstreams)
    assert play(mesh, GET).attempts == [A, A, B, B]


# --- what the application says ---


def overriding(*, retry: RetryPolicy | None, replies: list[Reply], **override: Any) -> Played:
    action = RouteAction(cluster="reviews", retry_policy=retry)
    mesh = VirtualMesh(one_service([A], action=action), {A: replies})
    return play(mesh, get(REVIEWS, override=Override(**override)))


def test_the_application_may_do_without_retries() -> None:
    policy = RetryPolicy(retry_on=("5xx",), num_retries=3)
    assert len(overriding(retry=policy, replies=[fails_with(503)], retries=0).attempts) == 1


def test_the_application_may_want_more_of_them() -> None:
    policy = RetryPolicy(retry_on=("5xx",), num_retries=1)
    assert len(overriding(retry=policy, replies=[fails_with(503)], retries=3).attempts) == 4


@pytest.mark.parametrize(
    ("request_", "reply", "attempts"),
    [
        (GET, fails_with(503), 2),
        (GET, resets(), 2),
        (GET, fails_with(500), 1),
        (POST, fails_with(503), 1),
        (POST, resets(), 1),
        (POST, refuses_stream(), 2),
        (rpc(REVIEWS), grpc_status(14), 1),
        (rpc(REVIEWS), refuses_stream(), 2),
    ],
)
def test_retries_that_nobody_configured_do_nothing_twice(
    request_: Request, reply: Reply, attempts: int
) -> None:
    mesh = VirtualMesh(one_service([A]), {A: reply})
    request_.override = Override(retries=1)
    try:
        assert len(play(mesh, request_).attempts) == attempts
    finally:
        request_.override = None


def test_a_policy_that_somebody_wrote_is_obeyed_for_every_method() -> None:
    assert len(play(retrying(fails_with(503)), POST).attempts) == 2


def test_the_application_may_shorten_and_lengthen_the_calls_time() -> None:
    for timeout, sent in ((0.5, 0.5), (60.0, 60.0), (0.0, None)):
        call = overriding(retry=None, replies=[ok()], timeout=timeout)
        assert call.trace[0]["timeout"] == sent


def test_the_callers_deadline_holds_all_the_same() -> None:
    mesh = VirtualMesh(one_service([A]))
    call = play(mesh, get(REVIEWS, deadline=1.0, override=Override(timeout=9.0)))
    assert call.trace[0]["timeout"] == 1.0


def test_a_call_out_of_the_mesh_takes_no_longer_either() -> None:
    foreign = get("example.com:80", override=Override(timeout=2.0))
    assert play(VirtualMesh(options=Options(complete=True)), foreign).trace[0]["timeout"] == 2.0
    waiting = play(VirtualMesh(), foreign)
    assert (waiting.attempts, waiting.elapsed, said(waiting.outcome)) == ([], 2.0, "NR,NOCONFIG")


# --- what an attempt tells ---


def test_attempts_are_counted_in_headers_where_the_host_says_so() -> None:
    policy = RetryPolicy(retry_on=("5xx",), num_retries=2)
    action = RouteAction(cluster="reviews", retry_policy=policy)
    snapshot = one_service([A], action=action)
    (listener,) = snapshot.listeners.values()
    table = listener.http.routes
    assert isinstance(table, RouteConfiguration)
    host = replace(
        table.virtual_hosts[0],
        include_request_attempt_count=True,
        include_attempt_count_in_response=True,
    )
    http = HttpConnectionManager(routes=replace(table, virtual_hosts=(host,)))
    listeners = {listener.name: replace(listener, http=http)}
    mesh = VirtualMesh(
        replace(snapshot, listeners=listeners), {A: [fails_with(503), fails_with(503), ok()]}
    )
    call = play(mesh, get(REVIEWS, headers=(("x-envoy-attempt-count", "9"),)))
    sent = [e["headers"]["x-envoy-attempt-count"] for e in call.trace if e["what"] == "send"]
    assert sent == ["1", "2", "3"]
    ended = mesh.events[-1]
    assert isinstance(ended, CallEnded)
    assert ended.record.respond is not None
    assert ended.record.respond((("x", "y"),)) == (("x", "y"), ("x-envoy-attempt-count", "3"))


def test_each_endpoint_may_be_called_by_its_own_name() -> None:
    policy = RetryPolicy(retry_on=("5xx",), previous_hosts=True)
    action = RouteAction(cluster="reviews", retry_policy=policy, auto_host_rewrite=True)
    places = [endpoint(A, hostname="a.example"), endpoint(B)]
    mesh = VirtualMesh(one_service(places, action=action), {A: fails_with(503), B: ok()})
    call = play(mesh, GET)
    assert [e["authority"] for e in call.trace if e["what"] == "send"] == ["a.example", REVIEWS]


def test_a_name_that_is_replaced_may_be_told() -> None:
    action = RouteAction(cluster="reviews", auto_host_rewrite=True, append_x_forwarded_host=True)
    mesh = VirtualMesh(one_service([endpoint(A, hostname="a.example")], action=action))
    assert play(mesh, GET).trace[0]["headers"] == {"x-forwarded-host": REVIEWS}


def test_a_retry_that_the_budget_does_not_allow_is_told() -> None:
    nothing = RetryBudget(budget_percent=0.0, min_retry_concurrency=0)
    limits = CircuitBreakers(default=Thresholds(retry_budget=nothing))
    action = RouteAction(cluster="reviews", retry_policy=RetryPolicy(retry_on=("5xx",)))
    snapshot = one_service([A], action=action, circuit_breakers=limits)
    mesh = VirtualMesh(snapshot, {A: fails_with(503)})
    call = play(mesh, GET)
    ended = mesh.events[-1]
    assert isinstance(ended, CallEnded)
    assert ended.record.report(call.outcome).flags == ("UO",)
    assert call.outcome == Response(503)
    assert denied(mesh) == [RetryDenied("reviews", "overflow")]


def denied(mesh: VirtualMesh) -> list[RetryDenied]:
    return [event for event in mesh.events if isinstance(event, RetryDenied)]


def test_a_retry_beyond_those_of_the_route_is_told() -> None:
    mesh = retrying([fails_with(503), fails_with(503)])
    assert said(play(mesh, GET).outcome) == "503"
    assert denied(mesh) == [RetryDenied("reviews", "limit_exceeded")]


def test_nothing_is_denied_that_nobody_wanted() -> None:
    mesh = retrying([fails_with(404)])
    play(mesh, GET)
    assert denied(mesh) == []


def test_a_dead_endpoint_is_replaced_even_without_retries() -> None:
    mesh = VirtualMesh(one_service([A, B]), {A: refuses(), B: ok()})
    assert play(mesh, get(REVIEWS, override=Override(retries=0))).attempts == [A, B]


def test_a_cluster_that_is_not_there_may_have_a_status() -> None:
    action = RouteAction(cluster="nowhere", cluster_not_found_response_code=404)
    mesh = VirtualMesh(one_service(action=action))
    assert play(mesh, GET).outcome == Response(404)
    assert said(play(mesh, rpc(REVIEWS)).outcome) == "NC"


def test_a_call_does_not_knock_at_every_door_of_a_large_cluster() -> None:
    everybody = [f"10.0.1.{number}:80" for number in range(1, 101)]
    config = one_service(everybody)

    def make() -> VirtualMesh:
        return VirtualMesh(config, {address: refuses() for address in everybody})

    (played,) = play_alike(make, get(REVIEWS))
    assert len(played.attempts) == MOST_REPICKED + 1
    assert said(played.outcome) == "UF"
