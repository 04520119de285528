"""The router's attempts, played under both loops."""

from dataclasses import replace

import pytest

from meshlib.dataplane import AttemptFailed, CallEnded, Cause, Failure, Options, Response
from meshlib.errors import ConfigError
from meshlib.model import (
    CircuitBreakers,
    ClusterWeight,
    DirectResponseAction,
    DropOverload,
    HeaderMutations,
    HeaderValueOption,
    HealthStatus,
    NonForwardingAction,
    OriginalDst,
    PathExact,
    RedirectAction,
    RetryBackOff,
    RetryBudget,
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
    Static,
    Thresholds,
    WeightedClusters,
)
from meshlib.testing import (
    REVIEWS,
    A,
    B,
    C,
    VirtualMesh,
    a_mesh,
    always,
    assignment,
    endpoint,
    fails_with,
    get,
    grpc_status,
    hangs_up,
    ok,
    one_service,
    play,
    play_alike,
    refuses,
    refuses_stream,
    resets,
    rpc,
    said,
    scripted,
    slow,
)

GET = get(REVIEWS)


def test_a_retry_goes_to_another_endpoint() -> None:
    (call,) = play_alike(lambda: a_mesh({A: fails_with(503), B: ok()}, retries=1), GET)
    assert call.attempts == [A, B]
    assert call.outcome == Response(200)


def test_without_a_policy_nothing_is_retried() -> None:
    (call,) = play_alike(lambda: a_mesh({A: fails_with(503), B: ok()}), GET)
    assert call.attempts == [A]
    assert call.outcome == Response(503)


def test_the_last_answer_counts_when_the_retries_are_used_up() -> None:
    make = lambda: a_mesh({A: [fails_with(503), fails_with(502), fails_with(500)]}, retries=2)  # noqa: E731
    (call,) = play_alike(make, GET)
    assert call.attempts == [A, A, A]
    assert call.outcome == Response(500)
    mesh = make()
    play(mesh, GET)
    (ended,) = (e for e in mesh.events if isinstance(e, CallEnded))
    assert ended.record.report(call.outcome).flags == ("URX",)
    assert [e.retried_as for e in mesh.events if isinstance(e, AttemptFailed)] == ["retry"] * 2


def test_waits_double_and_are_jittered() -> None:
    dice = always(0.5)
    (call,) = play_alike(lambda: a_mesh({A: fails_with(503)}, retries=3, dice=dice), GET)
    sleeps = [event["seconds"] for event in call.trace if event["what"] == "sleep"]
    assert sleeps == [0.0125, 0.0375, 0.0875]


@pytest.mark.parametrize("replayable", [True, False])
@pytest.mark.parametrize("retries", [0, 1])
def test_a_dead_endpoint_among_several_never_fails_a_call(retries: int, replayable: bool) -> None:
    make = lambda: a_mesh({A: refuses(), B: refuses(), C: ok()}, retries=retries)  # noqa: E731
    (call,) = play_alike(make, get(REVIEWS, replayable=replayable))
    assert call.attempts == [A, B, C]
    assert call.outcome == Response(200)
    assert call.elapsed == 0.0


def test_when_nobody_can_be_reached_everybody_was_tried_once() -> None:
    (call,) = play_alike(lambda: a_mesh({A: refuses(), B: refuses()}), GET)
    assert sorted(call.attempts) == [A, B]
    assert said(call.outcome) == "UF"


def test_everybody_is_tried_once_by_random_too() -> None:
    from meshlib.model import Random

    mesh = a_mesh({A: refuses(), B: refuses(), C: refuses()}, lb_policy=Random())
    assert sorted(play(mesh, GET).attempts) == [A, B, C]


def test_a_panicking_cluster_with_degraded_endpoints_still_gives_up() -> None:
    sick = [
        endpoint(A, health_status=HealthStatus.UNHEALTHY),
        endpoint(B, health_status=HealthStatus.UNHEALTHY),
        endpoint(C, health_status=HealthStatus.DEGRADED),
    ]
    mesh = VirtualMesh(
        one_service(discovery=Static(assignment(sick))),
        {A: refuses(), B: refuses(), C: refuses()},
        dice=always(0.999),
    )
    call = play(mesh, GET)
    assert sorted(call.attempts) == [A, B, C]
    assert said(call.outcome) == "UF"


def test_lower_priorities_are_tried_before_a_call_fails() -> None:
    cluster = Static(assignment([A], [B]))
    make = lambda: VirtualMesh(one_service(discovery=cluster), {A: refuses()})  # noqa: E731
    first, second = play_alike(make, GET, GET)
    assert first.attempts == [A, B]
    assert second.attempts == [B]


def test_a_dropped_call_reaches_nobody_and_says_why() -> None:
    drop = DropOverload(category="throttle", numerator=100)
    dropping = replace(assignment([A]), drop_overloads=(drop,))
    mesh = VirtualMesh(one_service(discovery=Static(dropping)), {A: ok()})
    call = play(mesh, GET)
    assert call.attempts == []
    assert call.outcome == Failure(
        Cause.DROP_OVERLOAD, "reviews drops a share of its calls: throttle"
    )


def test_a_dead_endpoint_is_left_alone_for_a_while() -> None:
    mesh = a_mesh({A: [refuses(), ok()], B: ok()})
    assert play(mesh, GET).attempts == [A, B]
    assert [play(mesh, GET).attempts for _ in range(3)] == [[B]] * 3
    mesh.passes(0.5)
    assert [A] in [play(mesh, GET).attempts for _ in range(2)]


def test_an_endpoint_that_answers_again_is_trusted_again() -> None:
    mesh = a_mesh({A: [refuses(), refuses(), ok()]})
    for _ in range(3):
        play(mesh, GET)
    (live,) = mesh.engine.clusters["reviews"].balance.endpoints.values()
    assert (live.shunned_until, live.connect_failures) == (0.0, 0)


@pytest.mark.parametrize("upstream", [fails_with(503), resets(), refuses_stream(), slow(2.0)])
def test_what_cannot_be_replayed_is_never_sent_again_after_a_byte(upstream: object) -> None:
    policy = RetryPolicy(retry_on=("5xx", "refused-stream"), num_retries=3, per_try_timeout=1.0)
    action = RouteAction(cluster="reviews", retry_policy=policy)
    mesh = VirtualMesh(one_service([A, B], action=action), {A: upstream, B: ok()})
    assert play(mesh, get(REVIEWS, replayable=False)).attempts == [A]


def test_previous_hosts_are_avoided_until_all_were_tried() -> None:
    policy = RetryPolicy(retry_on=("5xx",), num_retries=3, previous_hosts=True)
    action = RouteAction(cluster="reviews", retry_policy=policy)
    upstreams = {A: fails_with(503), B: fails_with(503)}
    (call,) = play_alike(lambda: VirtualMesh(one_service([A, B], action=action), upstreams), GET)
    assert call.attempts == [A, B, A, B]


def test_the_route_timeout_bounds_all_attempts_together() -> None:
    make = lambda: a_mesh(  # noqa: E731
        {A: [slow(0.5, fails_with(503)), slow(9.0)]}, retries=5, timeout=1.0, dice=always(0.4)
    )
    (call,) = play_alike(make, GET)
    first, second = (event["timeout"] for event in call.trace if event["what"] == "send")
    assert (first, second) == (1.0, 0.49)
    assert said(call.outcome) == "UT"
    assert call.elapsed == pytest.approx(1.0)


def test_the_callers_deadline_is_never_lengthened() -> None:
    (call,) = play_alike(lambda: a_mesh({A: slow(9.0)}, timeout=5.0), get(REVIEWS, deadline=2.0))
    assert call.trace[0]["timeout"] == 2.0


def test_a_deadline_that_has_passed_sends_nothing() -> None:
    mesh = a_mesh({A: ok()})
    mesh.passes(3.0)
    call = play(mesh, get(REVIEWS, deadline=2.0))
    assert call.attempts == []
    assert said(call.outcome) == "UT"


def test_no_retry_is_begun_that_cannot_come_in_time() -> None:
    make = lambda: a_mesh(  # noqa: E731
        {A: slow(0.99, fails_with(503))}, retries=3, timeout=1.0, dice=always(0.9)
    )
    (call,) = play_alike(make, GET)
    assert call.attempts == [A]
    assert call.outcome == Response(503)


def test_a_slow_try_is_given_up_and_repeated() -> None:
    policy = RetryPolicy(retry_on=("reset",), per_try_timeout=0.2)
    action = RouteAction(cluster="reviews", retry_policy=policy)
    make = lambda: VirtualMesh(  # noqa: E731
        one_service([A, B], action=action), {A: slow(3.0), B: ok()}
    )
    (call,) = play_alike(make, GET)
    assert call.attempts == [A, B]
    assert call.elapsed == pytest.approx(0.2)


def test_a_try_timeout_of_zero_is_none() -> None:
    policy = RetryPolicy(retry_on=("5xx",), per_try_timeout=0.0)
    action = RouteAction(cluster="reviews", retry_policy=policy, timeout=0.0)
    call = play(VirtualMesh(one_service([A], action=action)), GET)
    assert call.trace[0]["timeout"] is None
    assert call.outcome == Response(200)


def test_a_grpc_status_is_retried_by_its_name() -> None:
    make = lambda: a_mesh(  # noqa: E731
        {A: grpc_status(14), B: grpc_status(0)}, retries=1, retry_on="unavailable"
    )
    (call,) = play_alike(make, rpc(REVIEWS))
    assert call.attempts == [A, B]


def test_the_dice_are_rolled_once_a_call_and_its_retries_stay_there() -> None:
    weighted = WeightedClusters(
        clusters=(ClusterWeight(name="canary", weight=1), ClusterWeight(name="reviews", weight=99))
    )
    policy = RetryPolicy(
        retry_on=("5xx",), num_retries=2, retry_back_off=RetryBackOff(base_interval=0.01)
    )
    action = RouteAction(cluster=weighted, retry_policy=policy)
    # 0.5 chooses the cluster; the next two are the waits, and would choose the canary.
    mesh = VirtualMesh(
        one_service([A], action=action), {A: fails_with(503)}, dice=scripted([0.5, 0.0, 0.0])
    )
    assert play(mesh, GET).attempts == [A, A, A]


def test_a_route_to_a_cluster_that_is_not_there_says_so() -> None:
    mesh = VirtualMesh(one_service(action=RouteAction(cluster="elsewhere")))
    call = play(mesh, GET)
    assert call.outcome == Failure(Cause.NO_CLUSTER, "no cluster 'elsewhere'")


def test_a_cluster_without_endpoints_says_how_many_it_knows() -> None:
    call = play(VirtualMesh(one_service([])), GET)
    assert call.outcome == Failure(Cause.NO_ENDPOINT, "no healthy endpoint of 0 in reviews")


def test_no_route_is_an_answer_of_its_own() -> None:
    only = Route(match=RouteMatch(path=PathExact("/x")), action=RouteAction(cluster="reviews"))
    nowhere = Failure(Cause.NO_ROUTE, "no route for GET reviews:9080/")
    for snapshot in (one_service(routes=(only,)), one_service(domains=("ratings",))):
        mesh = VirtualMesh(snapshot)
        assert play(mesh, GET).outcome == nowhere
        (_, ended) = mesh.events
        assert isinstance(ended, CallEnded)
        report = ended.record.report(ended.outcome)
        assert (report.host, report.flags, report.attempts) == (REVIEWS, ("NR",), 0)
        assert report.detail == "no route for GET reviews:9080/"


def test_a_route_of_a_server_does_not_forward() -> None:
    served = VirtualMesh(one_service(routes=(Route(action=NonForwardingAction()),)))
    assert said(play(served, GET).outcome) == "NR"


def test_a_failure_is_reported_with_all_that_is_known() -> None:
    mesh = VirtualMesh(one_service([A], version="7"), {A: resets()})
    play(mesh, GET)
    ended = mesh.events[-1]
    assert isinstance(ended, CallEnded)
    report = ended.record.report(ended.outcome)
    facts = (report.cluster, report.route, report.endpoint, report.attempts, report.flags)
    assert facts == ("reviews", "all", A, 1, ("UC",))
    assert (report.config_version, report.rule) == ("7", "reviews:9080/host/all")


def test_a_direct_response_sends_nothing() -> None:
    add = HeaderMutations(
        response_headers_to_add=(HeaderValueOption(name="x-who", value="the mesh"),)
    )
    route = Route(action=DirectResponseAction(status=418, body=b"teapot"), headers=add)
    call = play(VirtualMesh(one_service(routes=(route,))), GET)
    headers = (("content-length", "6"), ("content-type", "text/plain"), ("x-who", "the mesh"))
    assert call.outcome == Response(418, headers, body=b"teapot")
    assert call.attempts == []


def test_a_redirect_sends_nothing() -> None:
    route = Route(action=RedirectAction(host_redirect="new.example", response_code=308))
    call = play(VirtualMesh(one_service(routes=(route,))), get(REVIEWS, "/x?y=1"))
    assert call.outcome == Response(308, (("location", "http://new.example/x?y=1"),))


def test_weights_that_are_all_zero_are_refused_with_their_place() -> None:
    nothing = WeightedClusters(
        clusters=(ClusterWeight(name="a", weight=0), ClusterWeight(name="b", weight=0))
    )
    with pytest.raises(ConfigError, match=r"routes/reviews:9080: virtual_hosts\[host\]"):
        VirtualMesh(one_service(action=RouteAction(cluster=nothing)))


# --- limits ---


def limited(**thresholds: object) -> dict[str, object]:
    return {"circuit_breakers": CircuitBreakers(default=Thresholds(**thresholds))}  # type: ignore[arg-type]


def test_more_calls_than_allowed_overflow_at_once() -> None:
    mesh = a_mesh({A: ok()}, **limited(max_requests=1))
    first = play(mesh, GET, hold=True)
    refused = play(mesh, GET)
    assert said(refused.outcome) == "UO"
    assert refused.attempts == []
    first.end()
    assert play(mesh, GET).outcome == Response(200)
    assert mesh.engine.clusters["reviews"].breaker.overflows == 1


def test_a_dropped_body_gives_its_permit_back() -> None:
    mesh = a_mesh({A: ok()}, **limited(max_requests=1))
    play(mesh, GET, hold=True).drop()
    assert play(mesh, GET).outcome == Response(200)


def test_a_caller_who_hangs_up_gives_the_permit_back_and_is_counted() -> None:
    mesh = a_mesh({A: [hangs_up(), ok()]}, **limited(max_requests=1))
    assert said(play(mesh, GET).outcome) == "DC"
    assert play(mesh, GET).outcome == Response(200)
    ended = [e for e in mesh.events if isinstance(e, CallEnded)]
    assert [said(e.outcome) for e in ended] == ["DC", "200"]


def test_a_call_may_retry_as_often_as_its_policy_says_under_a_limit_of_one_retry() -> None:
    mesh = a_mesh({A: fails_with(503)}, retries=4, **limited(max_retries=1))
    assert len(play(mesh, GET).attempts) == 5


def test_a_limit_of_no_retries_holds() -> None:
    mesh = a_mesh({A: fails_with(503)}, retries=4, **limited(max_retries=0))
    assert len(play(mesh, GET).attempts) == 1


def test_a_retry_that_cannot_connect_is_still_a_retry() -> None:
    budget = RetryBudget(budget_percent=0.0, min_retry_concurrency=1)
    mesh = a_mesh(
        {A: fails_with(503), B: refuses(), C: ok()}, retries=1, **limited(retry_budget=budget)
    )
    held = play(mesh, GET, hold=True)
    assert held.attempts == [A, B, C]
    concurrency = mesh.engine.clusters["reviews"].breaker.concurrency
    assert (concurrency.active, concurrency.retries) == (1, 1)
    assert play(mesh, GET).attempts == [A]
    held.end()
    assert (concurrency.active, concurrency.retries) == (0, 0)


# --- out of the mesh ---


def test_a_passthrough_cluster_sends_where_the_caller_meant() -> None:
    snapshot = one_service(discovery=OriginalDst())
    mesh = VirtualMesh(snapshot)
    assert play(mesh, GET).attempts == [REVIEWS]
    mesh.passes(9.0)
    late = play(mesh, get(REVIEWS, deadline=8.0))
    assert (late.attempts, said(late.outcome)) == ([], "UT")


def test_a_foreign_host_passes_or_is_refused() -> None:
    open_mesh = VirtualMesh(options=Options(complete=True))
    assert play(open_mesh, get("example.com:80")).attempts == ["example.com:80"]
    closed = VirtualMesh(options=Options(complete=True, passthrough=False))
    refused = play(closed, get("example.com:80"))
    assert said(refused.outcome) == "NR,BLOCKED"
    assert "REGISTRY_ONLY" in str(refused.outcome)
