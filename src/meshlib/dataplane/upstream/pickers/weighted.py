"""Client-side weighted round robin: weights are what endpoints say of their load (gRFC A58)."""

from collections.abc import Sequence
from statistics import fmean

from ....clock import Clock, Dice
from ....model import ClientSideWeightedRoundRobin
from ..endpoint import UpstreamEndpoint
from .candidate import Candidate
from .edf import Schedule

SHORTEST_UPDATE = 0.1


class WeightedPicker:
    """Weights are reckoned anew every ``weight_update_period``. Who has none gets the mean of the
    others; as long as fewer than two have one, everybody gets the same."""

    __slots__ = ("_clock", "_intervals", "_order", "_policy", "_schedule", "_update_at")

    def __init__(
        self,
        policy: ClientSideWeightedRoundRobin,
        candidates: Sequence[Candidate],
        clock: Clock,
        dice: Dice,
    ) -> None:
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
        known = [weight for weight in weights if weight]
        mean = fmean(known) if len(known) > 1 else 0.0
        # In units of the mean, so that turns already given out keep their meaning.
        self._intervals = [mean / (weight or mean) if mean else 1.0 for weight in weights]
