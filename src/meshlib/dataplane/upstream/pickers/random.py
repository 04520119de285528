"""Random, weighted."""

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate

from ....clock import Dice
from ..endpoint import UpstreamEndpoint
from .candidate import Candidate


class RandomPicker:
    __slots__ = ("_bounds", "_dice", "_order")

    def __init__(self, candidates: Sequence[Candidate], dice: Dice) -> None:
        self._order = tuple(candidate.endpoint for candidate in candidates)
        self._bounds = tuple(accumulate(candidate.weight for candidate in candidates))
        self._dice = dice

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        return self._order[bisect(self._bounds, self._dice() * self._bounds[-1])]
