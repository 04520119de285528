"""Which priority takes a call: health, overprovisioning and panic as Envoy counts them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ...model import ClusterLoadAssignment
from .endpoint import UpstreamEndpoint

DEFAULT_PANIC_THRESHOLD = 50.0


@dataclass(frozen=True, slots=True)
class Level:
    """The endpoints that a priority offers and its share of the calls, in per cent."""

    candidates: tuple[UpstreamEndpoint, ...]
    share: float


def levels(
    assignment: ClusterLoadAssignment,
    live: Sequence[Sequence[UpstreamEndpoint]],
    panic_threshold: float | None,
) -> tuple[Level, ...]:
    """Spread 100 % over the priorities, best first (Envoy: "Priority levels").

    A priority can take its healthy share times the overprovisioning factor; degraded endpoints
    come after all healthy ones. When the whole cluster is short of capacity, a priority in which
    less than the panic threshold is healthy or degraded balances over all of its endpoints; when
    every priority does so, load goes by their number of endpoints.
    """
    factor = assignment.overprovisioning_factor / 100
    healthy = [[e for e in level if e.usable] for level in live]
    degraded = [[e for e in level if e.degraded] for level in live]
    capacity = [_capacity(h, level, factor) for h, level in zip(healthy, live, strict=True)]
    spare = [_capacity(d, level, factor) for d, level in zip(degraded, live, strict=True)]
    total = min(100.0, sum(capacity) + sum(spare))
    threshold = DEFAULT_PANIC_THRESHOLD if panic_threshold is None else panic_threshold
    available = [100 * (len(h) + len(d)) for h, d in zip(healthy, degraded, strict=True)]
    panic = [
        total < 100 and able < threshold * len(level)
        for able, level in zip(available, live, strict=True)
    ]
    if all(hit or not level for hit, level in zip(panic, live, strict=True)):
        return _by_number(live)
    offered = [
        (*(level if hit else able for hit, able, level in zip(panic, part, live, strict=True)),)
        for part in (healthy, degraded)
    ]
    return _spread((*offered[0], *offered[1]), (*capacity, *spare), total)


def kept_share(assignment: ClusterLoadAssignment) -> float:
    """The part of the calls that no category of ``drop_overloads`` drops, from 0 to 1.

    Each category drops its share of what those before it let through (endpoint.proto).
    """
    return prod(max(0.0, 1 - d.numerator / d.denominator) for d in assignment.drop_overloads)


def _capacity(
    part: Sequence[UpstreamEndpoint], whole: Sequence[UpstreamEndpoint], factor: float
) -> float:
    return min(100.0, 100 * len(part) / len(whole) * factor) if whole else 0.0


def _spread(
    offered: Sequence[Sequence[UpstreamEndpoint]], capacity: Sequence[float], total: float
) -> tuple[Level, ...]:
    """Everyone gets what it can take, until 100 % are given away."""
    found, left = [], 100.0
    for candidates, wanted in zip(offered, capacity, strict=True):
        share = min(left, wanted * 100 / total) if total else 0.0
        left -= share
        if candidates and share > 0:
            found.append(Level(tuple(candidates), share))
    return tuple(found)


def _by_number(live: Sequence[Sequence[UpstreamEndpoint]]) -> tuple[Level, ...]:
    known = sum(map(len, live))
    return tuple(Level(tuple(level), 100 * len(level) / known) for level in live if level)
