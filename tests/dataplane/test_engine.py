import pytest

from meshlib.dataplane import (
    AwaitConfig,
    CallEnded,
    Cause,
    ConfigApplied,
    Deliver,
    Engine,
    Failure,
    Options,
    Response,
    Send,
    python_regex,
)
from meshlib.dataplane.engine import ADOPTED
from meshlib.errors import ConfigError
from meshlib.model import (
    CircuitBreakers,
    Cluster,
    Eds,
    HttpConnectionManager,
    Listener,
    LogicalDns,
    OriginalDst,
    Rds,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    Snapshot,
    Static,
    StrictDns,
    Thresholds,
    VirtualHost,
    gather,
)
from meshlib.testing import (
    REVIEWS,
    A,
    B,
    C,
    FakeClock,
    VirtualMesh,
    always,
    assignment,
    fails_with,
    get,
    hangs_up,
    ok,
    one_service,
    play,
    play_alike,
    refuses,
    said,
    slow,
)

GET = get(REVIEWS)


def by_rds(*endpoints: str, path_rewrite: str = "", **cluster) -> Snapshot:
    """The same service, with routes and endpoints as resources of their own."""
    action = RouteAction(cluster="reviews", prefix_rewrite=path_rewrite)
    host = VirtualHost(name="host", domains=("*",), routes=(Route(action=action),))
    return gather(
        listeners=[Listener(name=REVIEWS, http=HttpConnectionManager(routes=Rds("routes")))],
        routes=[RouteConfiguration(name="routes", virtual_hosts=(host,))],
        clusters=[Cluster(name="reviews", **cluster)],
        endpoints=[assignment(endpoints)],
    )


def engine(**options) -> Engine:
    return Engine(clock=FakeClock(), dice=always(0.0), options=Options(**options))


# --- what is kept when the configuration changes ---


def test_an_equal_configuration_keeps_everything() -> None:
    made = engine()
    made.apply(by_rds(A, B))
    before = (made.listeners[REVIEWS], made.clusters["reviews"].balance)
    made.apply(by_rds(A, B))
    after = (made.listeners[REVIEWS], made.clusters["reviews"].balance)
    assert all(new is old for new, old in zip(after, before, strict=True))


def test_new_endpoints_keep_the_routes_and_the_state_of_those_who_stay() -> None:
    made = engine()
    made.apply(by_rds(A, B))
    listener, cluster = made.listeners[REVIEWS], made.clusters["reviews"]
    stays = cluster.balance.endpoints[A]
    made.apply(by_rds(A, C))
    assert made.listeners[REVIEWS] is listener
    assert made.clusters["reviews"] is cluster
    assert cluster.balance.endpoints[A] is stays
    assert set(cluster.balance.endpoints) == {A, C}


def test_new_routes_keep_the_clusters() -> None:
    made = engine()
    made.apply(by_rds(A))
    cluster, balance = made.clusters["reviews"], made.clusters["reviews"].balance
    listener = made.listeners[REVIEWS]
    made.apply(by_rds(A, path_rewrite="/v2"))
    assert made.clusters["reviews"] is cluster
    assert cluster.balance is balance
    assert made.listeners[REVIEWS] is not listener


def test_new_limits_count_the_calls_that_are_in_flight() -> None:
    mesh = VirtualMesh(by_rds(A))
    held = play(mesh, GET, hold=True)
    limits = CircuitBreakers(default=Thresholds(max_requests=1))
    mesh.apply(by_rds(A, circuit_breakers=limits))
    assert said(play(mesh, GET).outcome) == "UO"
    held.end()
    assert play(mesh, GET).outcome == Response(200)


def test_a_cluster_that_appears_is_found_by_routes_that_were_there_before() -> None:
    mesh = VirtualMesh(one_service(name="other"))
    assert said(play(mesh, GET).outcome) == "NC"
    mesh.apply(one_service())
    assert play(mesh, GET).outcome == Response(200)
    mesh.apply(one_service(name="other"))
    assert said(play(mesh, GET).outcome) == "NC"


def test_a_cluster_that_becomes_a_passthrough_passes_through() -> None:
    mesh = VirtualMesh(one_service([A]))
    assert play(mesh, GET).attempts == [A]
    mesh.apply(one_service(discovery=OriginalDst()))
    assert play(mesh, GET).attempts == [REVIEWS]
    mesh.apply(one_service([A]))
    assert play(mesh, GET).attempts == [A]


def test_preparing_puts_nothing_in_force() -> None:
    made = engine()
    made.apply(by_rds(A))
    listener, balance = made.listeners[REVIEWS], made.clusters["reviews"].balance
    prepared = made.prepare(by_rds(B, path_rewrite="/v2"))
    assert made.listeners[REVIEWS] is listener
    assert made.clusters["reviews"].balance is balance
    made.commit(prepared)
    assert set(made.clusters["reviews"].balance.endpoints) == {B}


def test_a_bad_configuration_is_refused_and_the_last_good_one_serves_on() -> None:
    mesh = VirtualMesh(by_rds(A))
    dangling = gather(
        listeners=[Listener(name=REVIEWS, http=HttpConnectionManager(routes=Rds("gone")))]
    )
    with pytest.raises(ConfigError, match="listeners/reviews:9080: rds: no route configuration"):
        mesh.apply(dangling)
    assert play(mesh, GET).attempts == [A]


def test_every_way_to_write_endpoints_is_understood() -> None:
    for discovery in (
        Static(assignment([A])),
        StrictDns(assignment([A])),
        LogicalDns(assignment([A])),
    ):
        assert play(VirtualMesh(one_service(discovery=discovery)), GET).attempts == [A]
    assert said(play(VirtualMesh(one_service(discovery=Eds("gone"))), GET).outcome) == "UH"


def test_what_was_applied_is_told() -> None:
    mesh = VirtualMesh(one_service(version="7"))
    assert mesh.events == [ConfigApplied("7", 1, 1)]
    play(mesh, GET)
    (_, ended) = mesh.events
    assert isinstance(ended, CallEnded)
    assert ended.record.config_version == "7"


# --- a configuration that changes during a call ---


def retried(*endpoints: str, cluster: str = "reviews", **fields) -> Snapshot:
    policy = RetryPolicy(retry_on=("5xx",), num_retries=2)
    return one_service(
        endpoints, action=RouteAction(cluster=cluster, retry_policy=policy), **fields
    )


def test_a_call_ends_on_the_routes_it_began_with() -> None:
    def make() -> VirtualMesh:
        upstreams = {A: [slow(1.0, fails_with(503)), ok()]}
        news = [(0.5, one_service([A], action=RouteAction(cluster="gone")))]
        return VirtualMesh(retried(A), upstreams, news=news)

    first, second = play_alike(make, GET, GET)
    assert first.attempts == [A, A]
    assert first.outcome == Response(200)
    assert said(second.outcome) == "NC"


def test_a_retry_goes_to_the_endpoints_of_now() -> None:
    def make() -> VirtualMesh:
        return VirtualMesh(retried(A), {A: slow(1.0, fails_with(503))}, news=[(0.5, retried(B))])

    (call,) = play_alike(make, GET)
    assert call.attempts == [A, B]


def test_who_cannot_be_reached_is_replaced_by_who_has_just_come() -> None:
    def make() -> VirtualMesh:
        return VirtualMesh(
            one_service([A]), {A: slow(1.0, refuses())}, news=[(0.5, one_service([B]))]
        )

    (call,) = play_alike(make, GET)
    assert call.attempts == [A, B]
    assert call.outcome == Response(200)


def test_a_call_ends_in_a_cluster_that_was_removed_meanwhile() -> None:
    def make() -> VirtualMesh:
        return VirtualMesh(
            retried(A), {A: [slow(1.0, fails_with(503)), ok()]}, news=[(0.5, Snapshot())]
        )

    (call,) = play_alike(make, GET)
    assert call.attempts == [A, A]
    assert call.outcome == Response(200)


# --- hosts that nothing is known of ---


def test_a_call_waits_for_its_configuration() -> None:
    make = lambda: VirtualMesh(news=[(3.0, one_service([A]))])  # noqa: E731
    first, second = play_alike(make, GET, GET)
    assert [event["what"] for event in first.trace] == ["await_config", "send", "deliver"]
    assert first.trace[0]["timeout"] == 15.0
    assert first.elapsed == 3.0
    assert [event["what"] for event in second.trace] == ["send", "deliver"]


def test_the_wait_for_configuration_ends_even_without_a_deadline() -> None:
    (call,) = play_alike(lambda: VirtualMesh(), GET)  # noqa: PLW0108
    assert said(call.outcome) == "NR,NOCONFIG"
    assert call.elapsed == 15.0


def test_the_wait_for_configuration_ends_with_the_callers_deadline() -> None:
    (call,) = play_alike(lambda: VirtualMesh(), get(REVIEWS, deadline=2.0))  # noqa: PLW0108
    assert call.elapsed == 2.0


def test_news_of_others_do_not_end_the_wait() -> None:
    (call,) = play_alike(lambda: VirtualMesh(news=[(1.0, one_service(target="ratings:9080"))]), GET)
    assert call.elapsed == 15.0


def test_a_driver_that_wakes_early_is_sent_back_to_wait() -> None:
    made = engine()
    steps = made.outbound(GET)
    assert next(steps) == AwaitConfig(REVIEWS, 15.0)
    assert steps.send(True) == AwaitConfig(REVIEWS, 15.0)
    made.apply(one_service([A]))
    assert isinstance(steps.send(True), Send)


def test_the_wait_may_be_told_that_the_host_does_not_exist() -> None:
    made = engine()
    steps = made.outbound(GET)
    next(steps)
    made.apply(Snapshot(), absent={REVIEWS})
    effect = steps.send(True)
    assert isinstance(effect, Send)
    assert effect.endpoint is None


def test_a_caller_who_leaves_while_waiting_for_configuration_is_counted() -> None:
    events = []
    made = Engine(clock=FakeClock(), dice=always(0.0), observe=events.append)
    steps = made.outbound(GET)
    next(steps)
    steps.close()
    (ended,) = events
    assert isinstance(ended, CallEnded)
    assert said(ended.outcome) == "DC"


def test_every_call_is_told_once() -> None:
    mesh = VirtualMesh(one_service([A]), {A: [ok(), hangs_up(), fails_with(500)]})
    for _ in range(3):
        play(mesh, GET)
    play(mesh, GET, hold=True).drop()
    mesh.engine.options = Options(complete=True)
    play(mesh, get("example.com:80"))
    ended = [said(event.outcome) for event in mesh.events if isinstance(event, CallEnded)]
    assert ended == ["200", "DC", "500", "DC", "200"]


def test_it_is_known_who_is_of_the_mesh() -> None:
    made = engine()
    made.apply(one_service(), absent={"gone:80"})
    assert (made.knows(REVIEWS), made.is_foreign(REVIEWS)) == (True, False)
    assert (made.knows("gone:80"), made.is_foreign("gone:80")) == (True, True)
    assert (made.knows("new:80"), made.is_foreign("new:80")) == (False, False)
    assert engine(complete=True).is_foreign("new:80")


def test_a_foreign_call_that_is_too_late_is_not_sent() -> None:
    mesh = VirtualMesh(options=Options(complete=True))
    mesh.passes(5.0)
    call = play(mesh, get("example.com:80", deadline=4.0))
    assert (call.attempts, said(call.outcome)) == ([], "UT")


def test_a_delivered_call_ends_as_its_body_does() -> None:
    mesh = VirtualMesh(one_service([A]))
    held = play(mesh, GET, hold=True)
    held.end(Failure(Cause.RESET, "broke off"))
    (_, ended) = mesh.events
    assert isinstance(ended, CallEnded)
    assert said(ended.outcome) == "UC"


def test_the_standard_regex_matches_as_a_whole() -> None:
    assert python_regex("a+")("aa")
    assert not python_regex("a+")("ab")


def test_the_steps_end_with_the_delivery() -> None:
    made = engine()
    made.apply(one_service([A]))
    steps = made.outbound(GET)
    assert isinstance(next(steps), Send)
    assert isinstance(steps.send(Response(200)), Deliver)
    with pytest.raises(StopIteration) as done:
        steps.send(None)
    assert done.value.value == Response(200)


def test_listeners_limit_the_streams_of_a_table_that_they_share() -> None:
    shared = RouteConfiguration(
        name="shared",
        virtual_hosts=(
            VirtualHost(
                name="host",
                domains=("*",),
                routes=(Route(action=RouteAction(cluster="reviews", timeout=0.0)),),
            ),
        ),
    )

    def listener(name: str, limit: float | None) -> Listener:
        http = HttpConnectionManager(routes=Rds("shared"), max_stream_duration=limit)
        return Listener(name=name, http=http)

    snapshot = gather(
        listeners=[listener("short:80", 2.0), listener("long:80", None)],
        routes=[shared],
        clusters=[Cluster(name="reviews", discovery=Static(assignment([A])))],
    )
    mesh = VirtualMesh(snapshot, {A: slow(5.0)})
    assert play(mesh, get("long:80")).outcome == Response(200)
    cut = play(mesh, get("short:80"))
    assert isinstance(cut.outcome, Failure)
    assert (cut.outcome.cause, cut.elapsed) == (Cause.TIMEOUT, 2.0)


def test_names_below_a_wildcard_are_remembered_but_not_without_end() -> None:
    engine = Engine(clock=FakeClock(), dice=always(0.0), options=Options(complete=True))
    engine.apply(one_service([A], target="*.example.org:80"))
    for number in range(ADOPTED + 10):
        assert engine.knows(f"n{number}.example.org:80")
        assert not engine.is_foreign(f"n{number}.example.org:80")
    assert len(engine.listeners) == ADOPTED + 1
    assert engine.listener("another.example.org:80") is not None
    assert engine.listener("example.org:80") is None
    engine.apply(one_service([A]))
    assert engine.is_foreign("n1.example.org:80")
