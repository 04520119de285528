import pytest

from meshlib.dataplane import CallEnded, Cause, Deliver, Engine, Event, Failure, Response, Serve
from meshlib.testing import FakeClock, always, get, said


def test_a_call_is_served_delivered_and_told() -> None:
    clock, events = FakeClock(), list[Event]()
    steps = Engine(clock=clock, dice=always(0.0), observe=events.append).inbound(get("here:80"))
    assert next(steps) == Serve(get("here:80"))
    clock.jump(2.0)
    delivered = steps.send(Response(200))
    assert isinstance(delivered, Deliver)
    assert delivered.record.inbound
    clock.jump(1.0)
    assert list(steps) == []
    (ended,) = events
    assert isinstance(ended, CallEnded)
    assert (ended.outcome, ended.duration) == (Response(200), 3.0)


def test_a_body_that_breaks_off_is_the_end_of_the_call() -> None:
    events = list[Event]()
    steps = Engine(clock=FakeClock(), dice=always(0.0), observe=events.append).inbound(get("h:80"))
    next(steps)
    steps.send(Response(200))
    with pytest.raises(StopIteration) as done:
        steps.send(Failure(Cause.RESET))
    assert done.value.value == Failure(Cause.RESET)
    (ended,) = events
    assert isinstance(ended, CallEnded)
    assert said(ended.outcome) == "UC"


def test_a_caller_who_leaves_is_counted() -> None:
    events = list[Event]()
    steps = Engine(clock=FakeClock(), dice=always(0.0), observe=events.append).inbound(get("h:80"))
    next(steps)
    steps.close()
    (ended,) = events
    assert isinstance(ended, CallEnded)
    assert said(ended.outcome) == "DC"
