"""Which priority takes a call: health, overprovisioning and panic as Envoy counts them."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    come after all healthy ones. When the whole cluster is short of capacity, a priority whose
    healthy share is below the panic threshold balances over all of its endpoints.
    """
    factor = assignment.overprovisioning_factor / 100
    healthy = [[e for e in level if e.usable] for level in live]
    degraded = [[e for e in level if e.degraded] for level in live]
    capacity = [_percent(h, level) * factor for h, level in zip(healthy, live, strict=True)]
    spare = [_percent(d, level) * factor for d, level in zip(degraded, live, strict=True)]
    total = min(100.0, sum(min(100.0, c) for c in capacity) + sum(spare))
    if total == 0.0:
        return _hopeless(live, panic_threshold)
    shares, left = [], 100.0
    for wanted in (*capacity, *spare):
        share = min(left, min(100.0, wanted) * 100 / total)
        shares.append(share)
        left -= share
    threshold = DEFAULT_PANIC_THRESHOLD if panic_threshold is None else panic_threshold
    offered = [
        tuple(level) if total < 100 and _percent(h, level) < threshold else tuple(h)
        for h, level in zip(healthy, live, strict=True)
    ]
    offered += [tuple(d) for d in degraded]
    return tuple(
        Level(candidates, share)
        for candidates, share in zip(offered, shares, strict=True)
        if candidates and share > 0
    )


def _percent(part: Sequence[UpstreamEndpoint], whole: Sequence[UpstreamEndpoint]) -> float:
    return 100 * len(part) / len(whole) if whole else 0.0


def _hopeless(
    live: Sequence[Sequence[UpstreamEndpoint]], panic_threshold: float | None
) -> tuple[Level, ...]:
    """Nobody is healthy: with panic switched off nobody is called, else the first priority is."""
    if panic_threshold == 0:
        return ()
    first = next((tuple(level) for level in live if level), ())
    return (Level(first, 100.0),) if first else ()
