"""A breaker that opens on failures and probes before it closes (after resilience4j).

Outlier detection takes single endpoints out of a cluster; this one stops all calls to a host whose
answers have become worthless, and lets a few through after a while to see whether it is back.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from ...clock import Clock


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When to open, how long, and how to come back.

    ``window`` calls are looked at, once there are ``minimum_calls``. ``failure_rate`` and
    ``slow_call_rate`` are in per cent; a call is slow that took longer than
    ``slow_call_duration`` seconds. ``open_for`` in seconds; after it ``half_open_calls`` are let
    through, and decide.

    Raises :class:`ValueError` for numbers that make no sense.
    """

    window: int = 100
    minimum_calls: int = 100
    failure_rate: float = 50.0
    slow_call_rate: float = 100.0
    slow_call_duration: float = 60.0
    open_for: float = 60.0
    half_open_calls: int = 10

    def __post_init__(self) -> None:
        for name in ("window", "minimum_calls", "half_open_calls"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, is {getattr(self, name)!r}")
        for name in ("failure_rate", "slow_call_rate"):
            if not 0 < getattr(self, name) <= 100:
                raise ValueError(f"{name} must be above 0 and at most 100")
        if self.minimum_calls > self.window:
            raise ValueError("minimum_calls must not be more than window: it would never open")
        for name in ("open_for", "slow_call_duration"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be less than 0, is {getattr(self, name)!r}")


class HalfOpenBreaker:
    """One host's breaker. Ask :meth:`admits` before a call, and tell of each admitted call's end:
    :meth:`observe`, or :meth:`withdraw` where it says nothing (the caller went away)."""

    __slots__ = ("_clock", "_left", "_opened", "_probes", "_seen", "config", "state")

    def __init__(self, config: Breaker, clock: Clock) -> None:
        self.config = config
        self.state = State.CLOSED
        self._clock = clock
        self._seen: deque[tuple[bool, bool]] = deque(maxlen=config.window)
        self._opened = 0.0
        self._left = 0
        self._probes = 0

    def admits(self) -> bool:
        """May a call begin now? Each probe that is let through has to be accounted for."""
        if self.state is State.OPEN and self._clock() >= self._opened + self.config.open_for:
            self.state = State.HALF_OPEN
            self._left = self._probes = self.config.half_open_calls
            self._seen.clear()
        if self.state is State.HALF_OPEN:
            if not self._left:
                return False
            self._left -= 1
        return self.state is not State.OPEN

    def observe(self, *, failed: bool, duration: float) -> None:
        """How an admitted call ended; ``duration`` in seconds."""
        if self.state is State.OPEN:
            return  # it began before the breaker opened
        self._seen.append((failed, duration > self.config.slow_call_duration))
        if self.state is State.HALF_OPEN:
            if len(self._seen) >= self._probes:
                self._judge(self._probes)
        else:
            self._judge(self.config.minimum_calls)

    def withdraw(self) -> None:
        """An admitted call ended without saying anything about the host."""
        if self.state is State.HALF_OPEN:
            self._left += 1

    def _judge(self, needed: int) -> None:
        if len(self._seen) < needed:
            return
        failed = 100 * sum(failed for failed, _ in self._seen) / len(self._seen)
        slow = 100 * sum(slow for _, slow in self._seen) / len(self._seen)
        if failed >= self.config.failure_rate or slow >= self.config.slow_call_rate:
            self.state, self._opened = State.OPEN, self._clock()
            self._seen.clear()
        elif self.state is State.HALF_OPEN:
            self.state = State.CLOSED
            self._seen.clear()
