"""Round robin, weighted by earliest deadline first as Envoy and gRPC do it."""

from collections.abc import Sequence

from ....clock import Clock, Dice
from ....model import SlowStart
from ..endpoint import UpstreamEndpoint
from .candidate import Candidate, Picker
from .edf import Schedule
from .slow_start import WarmingPicker, Warmth


class RotatingPicker:
    """Equal weights: in turn, from a random start."""

    __slots__ = ("_index", "_order")

    def __init__(self, candidates: Sequence[Candidate], dice: Dice) -> None:
        self._order = tuple(candidate.endpoint for candidate in candidates)
        self._index = int(dice() * len(self._order))

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        index = self._index
        self._index = index + 1
        return self._order[index % len(self._order)]


class RoundRobinPicker:
    """Unequal weights: more turns for the heavier."""

    __slots__ = ("_intervals", "_order", "_schedule")

    def __init__(self, candidates: Sequence[Candidate], dice: Dice) -> None:
        self._order = tuple(candidate.endpoint for candidate in candidates)
        self._intervals = [1 / candidate.weight for candidate in candidates]
        self._schedule = Schedule([candidate.weight for candidate in candidates], dice)

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        return self._order[self._schedule.turn(self._intervals)]


def round_robin(
    candidates: Sequence[Candidate], slow_start: SlowStart | None, clock: Clock, dice: Dice
) -> Picker:
    settled = in_turn(candidates, dice)
    if slow_start is None:
        return settled
    warmth = Warmth(slow_start, clock)

    def weigh(index: int) -> float:
        candidate = candidates[index]
        return candidate.weight * warmth.of(candidate.endpoint)

    return WarmingPicker(candidates, settled, weigh, slow_start.slow_start_window, clock, dice)


def in_turn(candidates: Sequence[Candidate], dice: Dice) -> Picker:
    if len({candidate.weight for candidate in candidates}) > 1:
        return RoundRobinPicker(candidates, dice)
    return RotatingPicker(candidates, dice)
