"""Tokens that come back as time passes."""

from collections import OrderedDict
from math import ceil

from ...clock import Clock
from ...model import TokenBucket

MIN_FILL_RATE = 1 / (365 * 24 * 3600)
"""Tokens a second; slower never refills anyway."""
ROUNDING = 1e-6
"""Of a token: what floating point may have lost."""


class Bucket:
    """Full at first. Refilled steadily, as Envoy does since 1.33: a part of a fill in a part of
    the interval."""

    __slots__ = ("_clock", "_since", "max_tokens", "rate")

    def __init__(self, config: TokenBucket, clock: Clock) -> None:
        self.max_tokens = config.max_tokens
        interval = config.fill_interval
        rate = config.tokens_per_fill / interval if interval > 0 else 0.0
        self.rate = max(rate, MIN_FILL_RATE)
        self._clock = clock
        self._since = clock() - self.max_tokens / self.rate
        """Since when tokens have come in, had none been taken."""

    def _tokens(self) -> float:
        return min(self.max_tokens, (self._clock() - self._since) * self.rate + ROUNDING)

    def take(self) -> bool:
        now = self._clock()
        tokens = min(self.max_tokens, (now - self._since) * self.rate)
        if tokens + ROUNDING < 1:
            return False
        self._since = now - (tokens - 1) / self.rate
        return True

    @property
    def remaining(self) -> int:
        return int(self._tokens())

    @property
    def reset(self) -> int:
        """Whole seconds until there is a token again; 0 where there is one."""
        missing = 1 - self._tokens()
        return ceil(missing / self.rate - ROUNDING) if missing > 0 else 0


class Buckets:
    """One bucket for each value that callers come with; the least recently used go first."""

    __slots__ = ("_clock", "_config", "_made", "_most")

    def __init__(self, config: TokenBucket, most: int, clock: Clock) -> None:
        self._config = config
        self._most = max(most, 1)
        self._clock = clock
        self._made: OrderedDict[tuple[str, ...], Bucket] = OrderedDict()

    def of(self, values: tuple[str, ...]) -> Bucket:
        found = self._made.get(values)
        if found is not None:
            self._made.move_to_end(values)
            return found
        if len(self._made) >= self._most:
            self._made.popitem(last=False)
        made = self._made[values] = Bucket(self._config, self._clock)
        return made
