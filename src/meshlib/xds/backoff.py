"""How long to wait before the next stream (gRFC A57; ``connection-backoff.md`` of gRPC)."""

from ..clock import Dice

LONGEST = 120.0
"""Seconds, as all of gRPC has it."""


class Backoff:
    """Grows from ``initial`` by ``multiplier`` up to ``cap`` seconds, each ± ``jitter``."""

    def __init__(
        self,
        dice: Dice,
        *,
        initial: float = 1.0,
        multiplier: float = 1.6,
        cap: float = LONGEST,
        jitter: float = 0.2,
    ) -> None:
        self._dice = dice
        self._initial = initial
        self._multiplier = multiplier
        self._cap = cap
        self._jitter = jitter
        self._base = initial

    def next(self) -> float:
        base, self._base = self._base, min(self._base * self._multiplier, self._cap)
        return base * (1 + self._jitter * (2 * self._dice() - 1))

    def reset(self) -> None:
        self._base = self._initial


class Reconnects:
    """When the next stream may open after one has ended."""

    SHORT_LIFE = 5.0

    def __init__(self, dice: Dice, *, cap: float = LONGEST) -> None:
        self._failures = Backoff(dice, cap=cap)
        self._short_lives = Backoff(dice, cap=cap)
        self._forgiven = True

    def answered(self) -> None:
        """The first response of a stream: whoever answers is not failing."""
        self._failures.reset()

    def after_failure(self) -> float:
        return self._failures.next()

    def after_life(self, seconds: float) -> float:
        """At once, but for a server that keeps answering and dying (gRFC A88, "Open issues")."""
        if seconds >= self.SHORT_LIFE:
            self._short_lives.reset()
            self._forgiven = True
            return 0.0
        if self._forgiven:
            self._forgiven = False
            return 0.0
        return self._short_lives.next()
