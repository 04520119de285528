"""Round robin, weighted by earliest deadline first as Envoy and gRPC do it."""

from collections.abc import Sequence
from heapq import heapify, heapreplace

from ....clock import Dice
from ..endpoint import UpstreamEndpoint


class RoundRobinPicker:
    """Equal weights rotate from a random start; unequal ones share by weight."""

    __slots__ = ("_heap", "_index", "_order")

    def __init__(self, candidates: Sequence[UpstreamEndpoint], dice: Dice) -> None:
        self._order = tuple(candidates)
        self._index = int(dice() * len(self._order))
        weights = {endpoint.config.load_balancing_weight for endpoint in self._order}
        self._heap = self._schedule(dice) if len(weights) > 1 else None

    def _schedule(self, dice: Dice) -> list[tuple[float, int, UpstreamEndpoint]]:
        # The first deadline is spread at random, so that a fleet of new clients does not start
        # in step on the heaviest endpoint.
        heap = [
            (dice() / endpoint.config.load_balancing_weight, index, endpoint)
            for index, endpoint in enumerate(self._order)
        ]
        heapify(heap)
        return heap

    def pick(self) -> UpstreamEndpoint:
        heap = self._heap
        if heap is None:
            index = self._index
            self._index = index + 1
            return self._order[index % len(self._order)]
        deadline, index, endpoint = heap[0]
        heapreplace(heap, (deadline + 1 / endpoint.config.load_balancing_weight, index, endpoint))
        return endpoint
