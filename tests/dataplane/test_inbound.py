from dataclasses import replace

import pytest

from meshlib.dataplane import (
    CallEnded,
    Cause,
    Deliver,
    Engine,
    Event,
    Failure,
    Request,
    Response,
    Serve,
)
from meshlib.model import (
    ALWAYS,
    FAULT,
    ROUTER,
    DirectResponseAction,
    Fault,
    FaultAbort,
    FaultDelay,
    FilterOverride,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    LocalRateLimit,
    NonForwardingAction,
    PathPrefix,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    Snapshot,
    TokenBucket,
    VirtualHost,
    gather,
)
from meshlib.testing import FakeClock, always, get, rpc, said

SERVED = Route(name="all", action=NonForwardingAction())
ONE_AN_HOUR = TokenBucket(max_tokens=1, fill_interval=3600.0)
LIMIT = LocalRateLimit(token_bucket=ONE_AN_HOUR, filter_enabled=ALWAYS, filter_enforced=ALWAYS)


def abort(status: int) -> Fault:
    return Fault(abort=FaultAbort(http_status=status, percentage=ALWAYS))


def marked(*configs) -> tuple[HttpFilter, ...]:
    return tuple(
        HttpFilter(name=f"mark/{number}", config=config) for number, config in enumerate(configs)
    )


def listening(*filters: HttpFilter, routes: tuple[Route, ...] = (SERVED,)) -> Snapshot:
    host = VirtualHost(name="here", domains=("*",), routes=routes)
    table = RouteConfiguration(name="inbound", virtual_hosts=(host,))
    http = HttpConnectionManager(routes=table, http_filters=(*filters, ROUTER))
    return gather(listeners=[Listener(name="inbound", http=http)])


def an_engine(events: list[Event], config: Snapshot | None = None) -> Engine:
    engine = Engine(clock=FakeClock(), dice=always(0.0), observe=events.append)
    if config is not None:
        engine.apply(config)
        events.clear()
    return engine


@pytest.fixture
def events() -> list[Event]:
    return []


def passed(engine: Engine, request: Request, extra: tuple[HttpFilter, ...] = ()) -> str:
    """What the caller gets of a handler that answers 200."""
    steps = engine.inbound(request, extra)
    effect = next(steps)
    if isinstance(effect, Serve):
        effect = steps.send(Response(200))
    assert isinstance(effect, Deliver)
    assert list(steps) == []
    return said(effect.outcome)


@pytest.mark.parametrize("config", [None, listening(), listening(FAULT)])
def test_a_call_is_served_delivered_and_told(events, config) -> None:
    engine = an_engine(events, config)
    clock = engine.around.clock
    steps = engine.inbound(get("here:80"))
    served = next(steps)
    assert isinstance(served, Serve)
    assert served.request == get("here:80")
    clock.jump(2.0)
    delivered = steps.send(Response(200))
    assert isinstance(delivered, Deliver)
    assert delivered.record is served.record
    assert delivered.record.inbound
    clock.jump(1.0)
    assert list(steps) == []
    (ended,) = events
    assert isinstance(ended, CallEnded)
    assert (ended.outcome, ended.duration) == (Response(200), 3.0)


@pytest.mark.parametrize("config", [None, listening()])
def test_a_body_that_breaks_off_is_the_end_of_the_call(events, config) -> None:
    steps = an_engine(events, config).inbound(get("h:80"))
    next(steps)
    steps.send(Response(200))
    with pytest.raises(StopIteration) as done:
        steps.send(Failure(Cause.RESET))
    assert done.value.value == Failure(Cause.RESET)
    (ended,) = events
    assert isinstance(ended, CallEnded)
    assert said(ended.outcome) == "UC"


@pytest.mark.parametrize("config", [None, listening()])
def test_a_caller_who_leaves_is_counted(events, config) -> None:
    steps = an_engine(events, config).inbound(get("h:80"))
    next(steps)
    steps.close()
    (ended,) = events
    assert isinstance(ended, CallEnded)
    assert said(ended.outcome) == "DC"


def test_filters_of_the_listener_stand_before_the_handler(events) -> None:
    engine = an_engine(events, listening(replace(FAULT, config=abort(418))))
    assert passed(engine, get("here:80")) == "418"
    (ended,) = events
    assert isinstance(ended, CallEnded)
    assert ended.record.route is not None
    assert ended.record.flags == ("FI",)


def test_a_route_has_filters_of_its_own(events) -> None:
    own = FilterOverride(name=FAULT.name, config=abort(418))
    teapot = Route(
        match=RouteMatch(path=PathPrefix("/tea")), action=NonForwardingAction(), overrides=(own,)
    )
    engine = an_engine(events, listening(FAULT, routes=(teapot, SERVED)))
    assert passed(engine, get("here:80", "/tea")) == "418"
    assert passed(engine, get("here:80", "/coffee")) == "200"


def test_a_delay_bounds_itself_by_the_deadline(events) -> None:
    delay = Fault(delay=FaultDelay(fixed_delay=5.0, percentage=ALWAYS))
    engine = an_engine(events, listening(replace(FAULT, config=delay)))
    steps = engine.inbound(rpc("", deadline=1.0))
    waited = next(steps)
    assert waited.seconds == 1.0
    engine.around.clock.jump(1.0)
    late = steps.send(None)
    assert isinstance(late, Deliver)
    assert said(late.outcome) == "DT"


@pytest.mark.parametrize(("request_made", "outcome"), [(get("h:80"), "404"), (rpc(""), "NR")])
def test_without_a_route_nobody_is_served(events, request_made, outcome) -> None:
    elsewhere = replace(SERVED, match=RouteMatch(path=PathPrefix("/elsewhere")))
    engine = an_engine(events, listening(routes=(elsewhere,)))
    assert passed(engine, request_made) == outcome


def test_a_route_may_answer_by_itself_but_not_forward(events) -> None:
    answered = Route(action=DirectResponseAction(status=204))
    assert passed(an_engine(events, listening(routes=(answered,))), get("h:80")) == "204"
    forwarded = Route(action=RouteAction(cluster="reviews"))
    config = listening(routes=(forwarded,))
    engine = Engine(clock=FakeClock(), dice=always(0.0))
    engine.apply(config)
    assert passed(engine, get("h:80")) == "NR"


def test_marks_stand_before_the_handler(events) -> None:
    assert passed(an_engine(events), get("h:80"), marked(abort(418))) == "418"
    assert passed(an_engine(events, listening()), get("h:80"), marked(abort(418))) == "418"


def test_the_configuration_wins_over_a_mark_of_its_kind(events) -> None:
    engine = an_engine(events, listening(replace(FAULT, config=abort(503))))
    assert passed(engine, get("h:80"), marked(abort(418))) == "503"
    mark = marked(LIMIT)
    engine.apply(listening(FAULT))
    assert [passed(engine, get("h:80"), mark) for _ in range(2)] == ["200", "429"]


def test_handlers_marked_alike_have_tokens_of_their_own(events) -> None:
    engine = an_engine(events)
    one = (HttpFilter(name="one", config=LIMIT),)
    other = (HttpFilter(name="other", config=LIMIT),)
    asked = [passed(engine, get("h:80"), mark) for mark in (one, other, one, other)]
    assert asked == ["200", "200", "429", "429"]


def test_the_tokens_of_marks_outlive_the_configuration(events) -> None:
    engine, mark = an_engine(events), marked(LIMIT)
    assert passed(engine, get("h:80"), mark) == "200"
    engine.apply(listening())
    assert passed(engine, get("h:80"), mark) == "429"
    engine.renew()
    assert passed(engine, get("h:80"), mark) == "200"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/admin/x", "403"),
        ("/a/../admin", "403"),
        ("//admin", "403"),
        ("/%61dmin", "403"),
        ("/free", "200"),
        ("/x%00", "400"),
    ],
)
def test_a_call_that_comes_in_is_matched_by_its_tidied_path(events, path, answer) -> None:
    refused = Route(
        match=RouteMatch(path=PathPrefix("/admin")), action=DirectResponseAction(status=403)
    )
    snapshot = listening(routes=(refused, SERVED))
    (listener,) = snapshot.listeners.values()
    tidying = replace(listener.http, normalize_path=True, merge_slashes=True)
    engine = an_engine(events, gather(listeners=[replace(listener, http=tidying)]))
    assert passed(engine, get("h:80", path), ()) == answer
