"""Pick first: everything to one endpoint, until it cannot be reached (gRFC A62)."""

from collections.abc import Sequence

from ....clock import Dice
from ....model import PickFirst
from ..endpoint import UpstreamEndpoint
from .candidate import Candidate


class PickFirstPicker:
    """Stays with whom it has. When that one is shunned, the first of the list that is not takes
    over, and keeps the calls even when the other comes back."""

    __slots__ = ("_index", "_order")

    def __init__(self, policy: PickFirst, candidates: Sequence[Candidate], dice: Dice) -> None:
        order = [candidate.endpoint for candidate in candidates]
        if policy.shuffle_address_list:
            for last in range(len(order) - 1, 0, -1):
                other = int(dice() * (last + 1))
                order[last], order[other] = order[other], order[last]
        self._order = tuple(order)
        self._index = 0

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        order = self._order
        if order[self._index].shunned_until:
            reachable = (i for i, endpoint in enumerate(order) if not endpoint.shunned_until)
            self._index = next(reachable, self._index)
        return order[(self._index + attempt) % len(order)]
