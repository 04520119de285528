"""Client-side weighted round robin: weights are what endpoints say of their load (gRFC A58)."""

from bisect import bisect_left
from collections.abc import Sequence
from statistics import fmean

from ....clock import Clock, Dice
from ....model import ClientSideWeightedRoundRobin
from ..endpoint import UpstreamEndpoint
from .candidate import Candidate
from .edf import Schedule

SHORTEST_UPDATE = 0.1
WEIGHTS = (
    *(0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0),
    *(7500.0, 10000.0),
)
"""OpenTelemetry's buckets for what has none of its own."""


class Weighing:
    """What was found each time that weights were reckoned (gRFC A78).

    ``fallbacks``: times that everybody got the same; ``unusable``: weights that are not to be had
    yet; ``stale`` ones; ``weights``: how many there were in each bucket of ``WEIGHTS``.
    """

    __slots__ = ("fallbacks", "stale", "total", "unusable", "weights")

    def __init__(self) -> None:
        self.fallbacks = 0
        self.unusable = 0
        self.stale = 0
        self.weights = [0] * (len(WEIGHTS) + 1)
        self.total = 0.0

    def note(self, endpoint: UpstreamEndpoint, weight: float) -> None:
        self.weights[bisect_left(WEIGHTS, weight)] += 1
        self.total += weight
        load = endpoint.load
        if load is not None and load.is_stale:
            self.stale += 1
        elif not weight:
            self.unusable += 1


class WeightedPicker:
    """Weights are reckoned anew every ``weight_update_period``. Who has none gets the mean of the
    others; as long as fewer than two have one, everybody gets the same. ``weighing`` may be shared
    with other pickers."""

    __slots__ = ("_clock", "_intervals", "_order", "_policy", "_schedule", "_update_at", "weighing")

    def __init__(
        self,
        policy: ClientSideWeightedRoundRobin,
        candidates: Sequence[Candidate],
        clock: Clock,
        dice: Dice,
    ) -> None:
        self.weighing = Weighing()
        self._policy = policy
        self._order = tuple(candidate.endpoint for candidate in candidates)
        self._clock = clock
        self._update_at = 0.0
        self._intervals = [1.0] * len(self._order)
        self._schedule = Schedule(self._intervals, dice)

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        now = self._clock()
        if now >= self._update_at:
            self._update(now)
        return self._order[self._schedule.turn(self._intervals)]

    def _update(self, now: float) -> None:
        policy = self._policy
        self._update_at = now + max(policy.weight_update_period, SHORTEST_UPDATE)
        weights = [
            0.0
            if endpoint.load is None
            else endpoint.load.weight_at(
                now, blackout=policy.blackout_period, expiration=policy.weight_expiration_period
            )
            for endpoint in self._order
        ]
        for endpoint, weight in zip(self._order, weights, strict=True):
            self.weighing.note(endpoint, weight)
        known = [weight for weight in weights if weight]
        self.weighing.fallbacks += len(known) < 2
        mean = fmean(known) if len(known) > 1 else 0.0
        # In units of the mean, so that turns already given out keep their meaning.
        self._intervals = [mean / (weight or mean) if mean else 1.0 for weight in weights]
