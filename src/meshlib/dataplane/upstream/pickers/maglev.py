"""Maglev: a table of prime size, filled in turn by every endpoint's own permutation of it."""

from array import array
from collections.abc import Iterator, Sequence

from ....clock import Dice
from ....model import Maglev
from ...routing.hashing import random_hash, xx_hash_64
from ..endpoint import UpstreamEndpoint
from .candidate import Candidate

ALL_BITS = (1 << 64) - 1
FEW = 150
"""Free places at the end of filling a table, when most are taken."""


class MaglevPicker:
    """A call goes where the table says at its hash, modulo the size. Made at the first pick."""

    __slots__ = ("_candidates", "_dice", "_order", "_size", "_table")

    def __init__(self, policy: Maglev, candidates: Sequence[Candidate], dice: Dice) -> None:
        # The order decides who fills first: the same in every process, whoever told it first.
        self._candidates = sorted(candidates, key=lambda candidate: candidate.name)
        self._order = tuple(candidate.endpoint for candidate in self._candidates)
        self._size = policy.table_size
        self._dice = dice
        self._table: array[int] | None = None

    @property
    def is_built(self) -> bool:
        return self._table is not None

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        table = self._table
        if table is None:
            table = self.build()
        key = random_hash(self._dice) if hash_key is None else hash_key
        if attempt:
            key ^= ALL_BITS - attempt + 1
        return self._order[table[key % self._size]]

    def build(self) -> "array[int]":
        weights = [candidate.weight for candidate in self._candidates]
        places = [
            (xx_hash_64(c.name) % self._size, xx_hash_64(c.name, 1) % (self._size - 1) + 1)
            for c in self._candidates
        ]
        table = self._table = _filled(self._size, places, _turns(weights))
        return table


def _turns(weights: Sequence[float]) -> Iterator[int]:
    """Whose turn it is to fill a place: the heaviest in each round, others in their share."""
    heaviest = max(weights)
    if min(weights) == heaviest:
        while True:
            yield from range(len(weights))
    targets = [0.0] * len(weights)
    rounds = 0
    while True:
        rounds += 1
        for index, weight in enumerate(weights):
            if rounds * weight >= targets[index]:
                targets[index] += heaviest
                yield index


def _filled(size: int, places: Sequence[tuple[int, int]], turns: Iterator[int]) -> "array[int]":
    table = array("l", bytes(array("l").itemsize * size))
    is_free = bytearray(b"\1") * size
    offsets = [offset for offset, _ in places]
    skips = [skip for _, skip in places]
    for _, index in zip(range(size - FEW), turns, strict=False):
        place, skip = offsets[index], skips[index]
        while not is_free[place]:
            place = (place + skip) % size
        is_free[place] = 0
        table[place] = index
        offsets[index] = place
    free = [place for place in range(size) if is_free[place]]
    while free:
        index = next(turns)
        place = offsets[index] = _nearest(offsets[index], skips[index], free, size)
        table[place] = index
        free.remove(place)
    return table


def _nearest(offset: int, skip: int, free: Sequence[int], size: int) -> int:
    """The free place that the permutation comes to first; when few are left, to ask each how far
    it is takes less time than to walk."""
    unskip = pow(skip, -1, size)
    return min(free, key=lambda place: (place - offset) * unskip % size)
