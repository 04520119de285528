"""Pickers: each chooses one endpoint out of the candidates of one priority."""

from collections.abc import Sequence
from typing import Protocol

from ....clock import Dice
from ....model import LbPolicy, LeastRequest, Random
from ..endpoint import UpstreamEndpoint
from .least_request import LeastRequestPicker
from .random import RandomPicker
from .round_robin import RoundRobinPicker

__all__ = ["LeastRequestPicker", "Picker", "RandomPicker", "RoundRobinPicker", "picker_for"]


class Picker(Protocol):
    def pick(self) -> UpstreamEndpoint: ...


def picker_for(policy: LbPolicy, candidates: Sequence[UpstreamEndpoint], dice: Dice) -> Picker:
    """Make the picker of a policy over at least one candidate."""
    match policy:
        case LeastRequest(choice_count=choices):
            return LeastRequestPicker(candidates, dice, choices)
        case Random():
            return RandomPicker(candidates, dice)
        case _:
            # Hash policies too, until requests carry hash keys; the codec reports them as ignored.
            return RoundRobinPicker(candidates, dice)
