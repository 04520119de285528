import asyncio
from typing import Any

import pytest

from meshlib.middleware._loop_lag import INTERVAL, UNASKED, LoopLag, _Gauge


class Loop:
    """An event loop whose time passes when told to, and which may be late."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: tuple[float, Any, tuple[Any, ...]] | None = None

    def time(self) -> float:
        return self.now

    def call_at(self, when, callback, *args) -> None:
        self.due = when, callback, args

    def wakes(self, *, late: float = 0.0) -> None:
        assert self.due is not None
        (when, callback, args), self.due = self.due, None
        self.now = when + late
        callback(*args)


def test_a_thread_without_a_loop_is_never_late() -> None:
    assert LoopLag()() == 0.0


async def test_each_loop_is_measured_from_the_first_question() -> None:
    lag = LoopLag()
    assert lag() == 0.0
    assert list(lag._gauges) == [asyncio.get_running_loop()]


def test_a_loop_is_as_late_as_it_was_last_woken() -> None:
    loop, gauge = Loop(), _Gauge()
    gauge.lag(loop)
    loop.wakes(late=0.25)
    assert gauge.lag(loop) == pytest.approx(0.25)
    loop.wakes()
    assert gauge.lag(loop) == 0.0


def test_a_loop_that_should_have_been_woken_already_is_late() -> None:
    loop, gauge = Loop(), _Gauge()
    gauge.lag(loop)
    loop.now += INTERVAL + 0.5
    assert gauge.lag(loop) == pytest.approx(0.5)


def test_a_loop_that_nobody_asks_about_is_left_alone() -> None:
    loop, gauge = Loop(), _Gauge()
    gauge.lag(loop)
    while loop.due is not None:
        loop.wakes()
    assert UNASKED < loop.now < UNASKED + 3 * INTERVAL
    assert gauge.lag(loop) == 0.0
    assert loop.due is not None
