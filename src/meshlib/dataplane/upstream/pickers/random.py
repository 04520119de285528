"""Random, weighted."""

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate

from ....clock import Dice
from ..endpoint import UpstreamEndpoint


class RandomPicker:
    __slots__ = ("_bounds", "_dice", "_order")

    def __init__(self, candidates: Sequence[UpstreamEndpoint], dice: Dice) -> None:
        self._order = tuple(candidates)
        self._bounds = tuple(accumulate(e.config.load_balancing_weight for e in self._order))
        self._dice = dice

    def pick(self) -> UpstreamEndpoint:
        return self._order[bisect(self._bounds, self._dice() * self._bounds[-1])]
