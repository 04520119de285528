"""Which priority takes a call: health, overprovisioning and panic as Envoy counts them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from ...model import Cluster, ClusterLoadAssignment, Endpoint, Locality
from .endpoint import UpstreamEndpoint, is_degraded, is_usable

DEFAULT_PANIC_THRESHOLD = 50.0


class Member(NamedTuple):
    """An endpoint as one configuration wants it; ``locality`` counts those of its rank.

    ``leaving``: the configuration lacks it, and it stays until health checks find it gone.
    """

    endpoint: UpstreamEndpoint
    config: Endpoint
    locality: int = 0
    leaving: bool = False

    @property
    def usable(self) -> bool:
        return is_usable(self.endpoint, self.config)

    @property
    def degraded(self) -> bool:
        return is_degraded(self.endpoint, self.config)


@dataclass(frozen=True, slots=True, eq=False)
class Rank:
    """All of one priority, whoever is well, as one cluster has them.

    ``factor`` is the overprovisioning factor, ``kept`` what is not dropped for overload, both of
    1. ``localities`` with their weights, ``None`` where unset. ``place``: 0 for the cluster's best.
    """

    config: Cluster
    members: tuple[Member, ...]
    localities: tuple[tuple[Locality, int | None], ...] = ((Locality(), None),)
    factor: float = 1.4
    kept: float = 1.0
    place: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """The members that a priority offers and its share of the calls, in per cent.

    ``panics``: too few are well, so all are offered.
    """

    priority: int
    candidates: tuple[Member, ...]
    share: float
    panics: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Health:
    """Who of a rank is well, and how much of the load that is enough for, in per cent."""

    rank: Rank
    healthy: tuple[Member, ...]
    degraded: tuple[Member, ...]

    @classmethod
    def of(cls, rank: Rank) -> "Health":
        usable = tuple(member for member in rank.members if member.usable)
        if len(usable) == len(rank.members):
            return cls(rank, usable, ())
        return cls(rank, usable, tuple(member for member in rank.members if member.degraded))

    def capacity(self, part: Sequence[Member]) -> float:
        whole = len(self.rank.members)
        return min(100.0, 100 * len(part) / whole * self.rank.factor) if whole else 0.0

    def is_below(self, threshold: float) -> bool:
        able = len(self.healthy) + len(self.degraded)
        return 100 * able < threshold * len(self.rank.members)


def levels(
    ranks: Sequence[Rank], panic_threshold: float | None, spared: Collection[int] = ()
) -> tuple[Level, ...]:
    """Spread 100 % over the priorities, best first (Envoy: "Priority levels").

    A priority can take its healthy share times the overprovisioning factor; degraded endpoints
    come after all healthy ones. When the whole cluster is short of capacity, a priority in which
    less than the panic threshold is healthy or degraded balances over all of its endpoints; when
    every priority does so, load goes by their number of endpoints.

    ``spared`` priorities get nothing as long as another one can take a call.
    """
    health = [Health.of(rank) for rank in ranks]
    capacity = [h.capacity(h.healthy) for h in health]
    spare = [h.capacity(h.degraded) for h in health]
    total = min(100.0, sum(capacity) + sum(spare))
    threshold = DEFAULT_PANIC_THRESHOLD if panic_threshold is None else panic_threshold
    panics = [total < 100 and h.is_below(threshold) for h in health]
    if all(hit or not rank.members for hit, rank in zip(panics, ranks, strict=True)):
        return _by_number(ranks)
    wanted = [(p, h.healthy, c) for p, (h, c) in enumerate(zip(health, capacity, strict=True))]
    wanted += [(p, h.degraded, s) for p, (h, s) in enumerate(zip(health, spare, strict=True))]
    left = [want for want in wanted if want[0] not in spared]
    if not any(share for _, _, share in left):
        left = wanted
    return _spread(left, ranks, panics)


def kept_share(assignment: ClusterLoadAssignment) -> float:
    """The part of the calls that no category of ``drop_overloads`` drops, from 0 to 1.

    Each category drops its share of what those before it let through (endpoint.proto).
    """
    return prod(max(0.0, 1 - d.numerator / d.denominator) for d in assignment.drop_overloads)


def _spread(
    wanted: Sequence[tuple[int, tuple[Member, ...], float]],
    ranks: Sequence[Rank],
    panics: Sequence[bool],
) -> tuple[Level, ...]:
    """Everyone gets what it can take, until 100 % are given away."""
    found, left = [], 100.0
    total = min(100.0, sum(capacity for _, _, capacity in wanted))
    for priority, able, capacity in wanted:
        share = min(left, capacity * 100 / total) if total else 0.0
        left -= share
        candidates = ranks[priority].members if panics[priority] else able
        if candidates and share > 0:
            found.append(Level(priority, candidates, share, panics[priority]))
    return tuple(found)


def _by_number(ranks: Sequence[Rank]) -> tuple[Level, ...]:
    known = sum(len(rank.members) for rank in ranks)
    return tuple(
        Level(priority, rank.members, 100 * len(rank.members) / known, panics=True)
        for priority, rank in enumerate(ranks)
        if rank.members
    )
