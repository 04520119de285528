"""Slow start: endpoints that are new take up their weight little by little."""

from collections.abc import Sequence

from ....clock import Clock, Dice
from ....model import SlowStart
from ..endpoint import UpstreamEndpoint
from .candidate import Candidate, Picker
from .edf import Schedule, Weigh


class Warmth:
    """How much of its weight an endpoint has taken up: 1 once the window is over."""

    __slots__ = ("_clock", "_config", "_exponent")

    def __init__(self, config: SlowStart, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._exponent = 1 / config.aggression

    def of(self, endpoint: UpstreamEndpoint) -> float:
        config = self._config
        elapsed = self._clock() - endpoint.since
        if elapsed >= config.slow_start_window:
            return 1.0
        grown: float = max(elapsed, 0.001) / config.slow_start_window
        return max(float(grown**self._exponent), config.min_weight_percent / 100)


class WarmingPicker:
    """By time-dependent weights as long as somebody warms up, then as without slow start.

    The beginning of the warm-up is looked up at the first pick: it is when the balance that this
    picker belongs to came into force.
    """

    __slots__ = (
        "_clock",
        "_dice",
        "_order",
        "_schedule",
        "_settled",
        "_until",
        "_weigh",
        "_window",
    )

    def __init__(
        self,
        candidates: Sequence[Candidate],
        settled: Picker,
        weigh: Weigh,
        window: float,
        clock: Clock,
        dice: Dice,
    ) -> None:
        self._order = tuple(candidate.endpoint for candidate in candidates)
        self._settled = settled
        self._weigh = weigh
        self._window = window
        self._clock = clock
        self._dice = dice
        self._schedule: Schedule | None = None
        self._until: float | None = None

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        until = self._until
        if until is None:
            until = self._begin()
        if self._schedule is None:
            return self._settled.pick()
        if self._clock() >= until:
            self._schedule = None
            return self._settled.pick()
        return self._order[self._schedule.next(self._weigh)]

    def _begin(self) -> float:
        until = self._until = max(endpoint.since for endpoint in self._order) + self._window
        if len(self._order) > 1:
            weights = [self._weigh(index) for index in range(len(self._order))]
            self._schedule = Schedule(weights, self._dice)
        return until
