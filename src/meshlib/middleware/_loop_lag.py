"""How late event loops are: a loop that is busy with one thing lets all others wait."""

import asyncio
import weakref
from asyncio.events import _get_running_loop

INTERVAL = 0.1
UNASKED = 5.0
"""Seconds after which a loop is left alone again when nobody has asked for its lag."""


class LoopLag:
    """Give one to :class:`meshlib.dataplane.Options`. A loop is measured from the first time that
    its lag is asked for, so that nothing runs where no configuration needs it."""

    def __init__(self) -> None:
        self._gauges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Gauge] = (
            weakref.WeakKeyDictionary()
        )

    def __call__(self) -> float:
        """Seconds by which the loop of this very thread is late; 0 on a thread without one."""
        loop = _get_running_loop()
        if loop is None:
            return 0.0
        gauge = self._gauges.get(loop)
        if gauge is None:
            gauge = self._gauges[loop] = _Gauge()
        return gauge.lag(loop)


class _Gauge:
    """Wakes up in regular intervals, and sees by how much later it does."""

    __slots__ = ("_asked", "_due", "_last")

    def __init__(self) -> None:
        self._due: float | None = None
        self._last = 0.0
        self._asked = 0.0

    def lag(self, loop: asyncio.AbstractEventLoop) -> float:
        now = self._asked = loop.time()
        if self._due is None:
            self._last = 0.0
            self._wait(loop)
            return 0.0
        return max(self._last, now - self._due)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + INTERVAL
        loop.call_at(self._due, self._wake, loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._due is not None
        self._last = max(0.0, loop.time() - self._due)
        if loop.time() - self._asked > UNASKED:
            self._due = None
        else:
            self._wait(loop)
