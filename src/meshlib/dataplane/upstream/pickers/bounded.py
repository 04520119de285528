"""Bounded load: nobody gets much more than the mean, however popular its keys are."""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Protocol

from ....clock import Dice
from ...routing.hashing import mersenne_twister, random_hash
from ..endpoint import UpstreamEndpoint
from .candidate import Candidate, Picker


class Built(Picker, Protocol):
    """A picker by a table that is made when it is first needed."""

    @property
    def is_built(self) -> bool: ...

    def build(self) -> object: ...


def bounded(
    hashing: Built, candidates: Sequence[Candidate], balance_factor: int, dice: Dice
) -> Picker:
    if not balance_factor:
        return hashing
    return BoundedLoadPicker(hashing, candidates, balance_factor, dice)


class BoundedLoadPicker:
    """Whoever has more than ``balance_factor`` per cent of its share of the calls in flight is
    passed over, for the first in an order of the others that the hash alone decides; when all
    have, for the one that exceeds it least. As in Envoy."""

    __slots__ = ("_balance_factor", "_candidates", "_dice", "_hashing", "_shares")

    def __init__(
        self, hashing: Built, candidates: Sequence[Candidate], balance_factor: int, dice: Dice
    ) -> None:
        self._hashing = hashing
        self._candidates = tuple(candidates)
        self._shares = {candidate.endpoint: candidate.weight for candidate in candidates}
        self._balance_factor = balance_factor
        self._dice = dice

    @property
    def is_built(self) -> bool:
        return self._hashing.is_built

    def build(self) -> object:
        return self._hashing.build()

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        key = random_hash(self._dice) if hash_key is None else hash_key
        chosen = self._hashing.pick(key, attempt)
        active = sum(candidate.endpoint.active for candidate in self._candidates)
        slots = ((active + 1) * self._balance_factor + 99) // 100
        load = _overload(chosen, slots, self._shares[chosen])
        if load <= 1:
            return chosen
        least = load
        for index in _shuffled(len(self._candidates), key):
            endpoint, share, _ = self._candidates[index]
            load = _overload(endpoint, slots, share)
            if load <= 1:
                return endpoint
            if load < least:
                chosen, least = endpoint, load
        return chosen


def _overload(endpoint: UpstreamEndpoint, slots: int, share: float) -> float:
    return endpoint.active / max(ceil(slots * share), 1)


def _shuffled(number: int, key: int) -> Iterator[int]:
    """All indices in the order that Envoy tries them for this key."""
    random = mersenne_twister(key & 0xFFFFFFFF)
    order = list(range(number))
    for index in range(number):
        width = number - index
        other = width
        while other >= width:
            other = next(random) // ((1 << 32) // width)
        order[index], order[index + other] = order[index + other], order[index]
        yield order[index]
