"""Earliest deadline first: turns by weight, spread as evenly as they can be."""

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace

from ....clock import Dice

Weigh = Callable[[int], float]
"""The weight that one of the participants, by its index, has right now; above 0."""


class Schedule:
    """Whose turn it is, by index. The first deadlines are spread at random, so that a fleet of
    new clients does not start in step on the heaviest endpoint."""

    __slots__ = ("_heap",)

    def __init__(self, weights: Sequence[float], dice: Dice) -> None:
        self._heap = [(dice() / weight, index) for index, weight in enumerate(weights)]
        heapify(self._heap)

    def next(self, weigh: Weigh) -> int:
        """Who is due; its next turn comes by the weight it has now."""
        deadline, index = self._heap[0]
        heapreplace(self._heap, (deadline + 1 / weigh(index), index))
        return index

    def turn(self, intervals: Sequence[float]) -> int:
        """The same for those whose weights stand: ``intervals`` are their reciprocals."""
        deadline, index = self._heap[0]
        heapreplace(self._heap, (deadline + intervals[index], index))
        return index
