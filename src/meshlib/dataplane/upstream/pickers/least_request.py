"""Least request: of a few chosen at random, the one with the fewest calls in flight."""

from collections.abc import Sequence

from ....clock import Clock, Dice
from ....model import LeastRequest
from ..endpoint import UpstreamEndpoint
from .candidate import Candidate, Picker
from .edf import Schedule, Weigh
from .slow_start import WarmingPicker, Warmth


class LeastRequestPicker:
    """Equal weights: power of ``choice_count`` choices, drawn with replacement."""

    __slots__ = ("_choices", "_dice", "_order")

    def __init__(self, candidates: Sequence[Candidate], choices: int, dice: Dice) -> None:
        self._order = tuple(candidate.endpoint for candidate in candidates)
        self._choices = range(choices - 1)
        self._dice = dice

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        order, dice = self._order, self._dice
        number = len(order)
        best = order[int(dice() * number)]
        for _ in self._choices:
            other = order[int(dice() * number)]
            if other.active < best.active:
                best = other
        return best


class IdlestPicker:
    """Equal weights, ``full_scan``: the idlest of all; among equals by lot."""

    __slots__ = ("_dice", "_order")

    def __init__(self, candidates: Sequence[Candidate], dice: Dice) -> None:
        self._order = tuple(candidate.endpoint for candidate in candidates)
        self._dice = dice

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        least = min(endpoint.active for endpoint in self._order)
        idlest = [endpoint for endpoint in self._order if endpoint.active == least]
        return idlest[int(self._dice() * len(idlest))]


class WeightedLeastRequestPicker:
    """Unequal weights: round robin, where load counts against the weight."""

    __slots__ = ("_order", "_schedule", "_weigh")

    def __init__(self, candidates: Sequence[Candidate], weigh: Weigh, dice: Dice) -> None:
        self._order = tuple(candidate.endpoint for candidate in candidates)
        self._weigh = weigh
        self._schedule = Schedule([weigh(index) for index in range(len(candidates))], dice)

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        return self._order[self._schedule.next(self._weigh)]


def least_request(
    policy: LeastRequest, candidates: Sequence[Candidate], clock: Clock, dice: Dice
) -> Picker:
    weigh = _loaded(candidates, policy.active_request_bias)
    settled = _settled(policy, candidates, weigh, dice)
    if policy.slow_start is None:
        return settled
    warmth = Warmth(policy.slow_start, clock)

    def warming(index: int) -> float:
        return weigh(index) * warmth.of(candidates[index].endpoint)

    window = policy.slow_start.slow_start_window
    return WarmingPicker(candidates, settled, warming, window, clock, dice)


def _settled(
    policy: LeastRequest, candidates: Sequence[Candidate], weigh: Weigh, dice: Dice
) -> Picker:
    if len({candidate.weight for candidate in candidates}) > 1:
        return WeightedLeastRequestPicker(candidates, weigh, dice)
    if policy.full_scan:
        return IdlestPicker(candidates, dice)
    return LeastRequestPicker(candidates, policy.choice_count, dice)


def _loaded(candidates: Sequence[Candidate], bias: float) -> Weigh:
    """``weight / (active requests + 1) ** active_request_bias``."""
    members = tuple(candidates)

    def weigh(index: int) -> float:
        endpoint, weight, _ = members[index]
        return float(weight / (endpoint.active + 1) ** bias)

    return weigh
