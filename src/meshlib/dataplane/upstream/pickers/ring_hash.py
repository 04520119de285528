"""Ring hash: Envoy's ketama ring, entry by entry (also gRFC A42)."""

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil

from ....clock import Dice
from ....model import RingHash
from ...routing.hashing import HASHES, random_hash
from ..endpoint import UpstreamEndpoint
from .candidate import Candidate

LARGEST_RING = 131_072.0
"""Points. Weights that are far apart ask for millions, which take seconds to make; with fewer the
lightest endpoints get less than their share."""


class RingHashPicker:
    """A call goes to the first point of the ring that is not below its hash.

    The ring is made at the first pick: many clusters of a mesh are never called. It is as large
    as ``maximum_ring_size`` allows, as Envoy's, but not larger than :data:`LARGEST_RING`; gRPC's
    own clients stop at 4096 points.
    """

    __slots__ = ("_candidates", "_dice", "_hashes", "_owners", "_policy")

    def __init__(self, policy: RingHash, candidates: Sequence[Candidate], dice: Dice) -> None:
        self._policy = policy
        self._candidates = tuple(candidates)
        self._dice = dice
        self._hashes: list[int] = []
        self._owners: list[UpstreamEndpoint] = []

    @property
    def is_built(self) -> bool:
        return bool(self._hashes)

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        if not self._hashes:
            self.build()
        key = random_hash(self._dice) if hash_key is None else hash_key
        return self._owners[(bisect_left(self._hashes, key) + attempt) % len(self._owners)]

    def build(self) -> None:
        points = sorted(_points(self._policy, self._candidates))
        members = [candidate.endpoint for candidate in self._candidates]
        self._owners = [members[index] for _, index in points]
        self._hashes = [point for point, _ in points]


def _points(policy: RingHash, candidates: Sequence[Candidate]) -> list[tuple[int, int]]:
    """As many points for each as its weight asks for, by running sums of fractions.

    The lightest gets a whole number of them, unless the ring would become too large.
    """
    hashed = HASHES[policy.hash_function]
    lightest = min(1.0, *(candidate.weight for candidate in candidates))
    scale = min(
        ceil(lightest * policy.minimum_ring_size) / lightest,
        float(policy.maximum_ring_size),
        LARGEST_RING,
    )
    points: list[tuple[int, int]] = []
    target = 0.0
    for index, candidate in enumerate(candidates):
        target += scale * candidate.weight
        number = 0
        while len(points) < target:
            points.append((hashed(f"{candidate.name}_{number}"), index))
            number += 1
    return points
