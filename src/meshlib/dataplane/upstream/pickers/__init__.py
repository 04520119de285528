"""Pickers: each chooses one endpoint out of the candidates of one priority."""

from collections.abc import Iterable, Sequence

from ....clock import Clock, Dice
from ....model import (
    ClientSideWeightedRoundRobin,
    LbPolicy,
    LeastRequest,
    Maglev,
    PickFirst,
    Random,
    RandomSubsetting,
    RingHash,
    RoundRobin,
)
from .bounded import BoundedLoadPicker, bounded
from .candidate import Candidate, Picker
from .least_request import least_request
from .maglev import MaglevPicker
from .pick_first import PickFirstPicker
from .random import RandomPicker
from .ring_hash import RingHashPicker
from .round_robin import round_robin
from .subsetting import subset
from .weighted import WEIGHTS, Weighing, WeightedPicker

__all__ = [
    "WEIGHTS",
    "Candidate",
    "Picker",
    "Weighing",
    "WeightedPicker",
    "build_as",
    "picker_for",
]


def picker_for(  # noqa: PLR0911 - one for each policy
    policy: LbPolicy, candidates: Sequence[Candidate], clock: Clock, dice: Dice, seed: int = 0
) -> Picker:
    """Make the picker of a policy over at least one candidate.

    ``seed`` is what this process differs by from others (random subsetting).
    """
    match policy:
        case RingHash():
            ring = RingHashPicker(policy, candidates, dice)
            return bounded(ring, candidates, policy.hash_balance_factor, dice)
        case Maglev():
            table = MaglevPicker(policy, candidates, dice)
            return bounded(table, candidates, policy.hash_balance_factor, dice)
        case RandomSubsetting(subset_size=size, child_policy=child_policy):
            chosen = subset(candidates, size, seed)
            return picker_for(child_policy, chosen, clock, dice)
        case LeastRequest():
            return least_request(policy, candidates, clock, dice)
        case Random():
            return RandomPicker(candidates, dice)
        case PickFirst():
            return PickFirstPicker(policy, candidates, dice)
        case ClientSideWeightedRoundRobin():
            return WeightedPicker(policy, candidates, clock, dice)
        case RoundRobin(slow_start=slow_start):
            return round_robin(candidates, slow_start, clock, dice)
        case _:
            # CLUSTER_PROVIDED goes with ORIGINAL_DST, which has no endpoints to choose from.
            return round_robin(candidates, None, clock, dice)


def build_as(picker: Picker, others: Iterable[Picker]) -> None:
    """Make the table of a hashing picker beforehand if that of its like was needed.

    Tables are made at the first pick, since many clusters of a mesh are never called; where calls
    are under way they need not wait for that.
    """
    if isinstance(picker, HASHING) and any(
        isinstance(other, HASHING) and other.is_built for other in others
    ):
        picker.build()


HASHING = (RingHashPicker, MaglevPicker, BoundedLoadPicker)
