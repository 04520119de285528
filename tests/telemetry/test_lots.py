"""Traces are drawn ahead, and each is the only one of its kind."""

from itertools import count

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from meshlib.telemetry.deciding import LOW, Share
from meshlib.telemetry.ids import Ids
from meshlib.telemetry.lots import AHEAD, Lots, Wanted
from meshlib.telemetry.marks import Forms

HALF = Share((LOW + 1) // 2)


def lots(share=HALF, always=None, inner=None):
    ids = Ids()
    ids.inner = inner or RandomIdGenerator()
    return Lots(ids, share, always or Forms())


def trace_id(drawn):
    return drawn if isinstance(drawn, int) else drawn.trace_id


def test_no_trace_is_drawn_twice():
    made = lots()
    drawn = [trace_id(made.draw()) for _ in range(3 * AHEAD)]
    assert len(set(drawn)) == len(drawn)


def test_the_sampler_may_want_those_in_its_share_and_no_others():
    made = lots()
    for _ in range(3 * AHEAD):
        drawn = made.draw()
        assert HALF.takes(trace_id(drawn)) is isinstance(drawn, Wanted)


def test_a_trace_that_nobody_wants_says_so_in_every_form_that_is_asked_for():
    drawn = lots(Share(0), Forms(single=True)).draw()
    ids = f"{drawn.trace_id:032x}-{drawn.span_id:016x}"
    assert dict(drawn.attempt(None)) == {"traceparent": f"00-{ids}-00", "b3": f"{ids}-0"}
    plain = lots(Share(0)).draw()
    parent = f"00-{plain.trace_id:032x}-{plain.span_id:016x}-00"
    assert plain.attempt(None) == (("traceparent", parent),)


class Counting:
    def __init__(self):
        self.made = count(1)

    def generate_trace_id(self):
        return next(self.made)

    def generate_span_id(self):
        return next(self.made)


def test_ids_that_may_tell_the_time_are_made_when_they_are_needed():
    counting = Counting()
    made = lots(Share(LOW + 1), inner=counting)
    assert [made.draw(), made.draw()] == [1, 2]
    assert next(counting.made) == 3
