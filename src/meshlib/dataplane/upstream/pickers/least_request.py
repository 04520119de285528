"""Least request: of a few chosen at random, the one with the fewest calls in flight."""

from collections.abc import Sequence

from ....clock import Dice
from ..endpoint import UpstreamEndpoint
from .round_robin import RoundRobinPicker


class LeastRequestPicker:
    """Equal weights: power of ``choice_count`` choices.

    Unequal weights: weighted round robin, each weight divided by the calls in flight plus one
    (Envoy's weighted least request with ``active_request_bias`` 1.0), approximated by taking the
    better of ``choice_count`` weighted turns.
    """

    __slots__ = ("_choices", "_dice", "_order", "_turns")

    def __init__(
        self, candidates: Sequence[UpstreamEndpoint], dice: Dice, choice_count: int
    ) -> None:
        self._order = tuple(candidates)
        self._dice = dice
        self._choices = choice_count
        weights = {endpoint.config.load_balancing_weight for endpoint in self._order}
        self._turns = RoundRobinPicker(candidates, dice) if len(weights) > 1 else None

    def pick(self) -> UpstreamEndpoint:
        best = self._candidate()
        for _ in range(self._choices - 1):
            other = self._candidate()
            if _load(other) < _load(best):
                best = other
        return best

    def _candidate(self) -> UpstreamEndpoint:
        if self._turns is not None:
            return self._turns.pick()
        return self._order[int(self._dice() * len(self._order))]


def _load(endpoint: UpstreamEndpoint) -> float:
    return (endpoint.active + 1) / endpoint.config.load_balancing_weight
