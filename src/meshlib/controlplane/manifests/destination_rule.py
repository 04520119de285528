"""``networking.istio.io`` DestinationRule."""

from collections.abc import Iterator

import msgspec

from .load_balancer import LoadBalancerSettings
from .piece import Flaw, Piece, Text
from .traffic_policy import (
    ConnectionPoolSettings,
    OutlierDetection,
    PortTrafficPolicy,
    RetryBudget,
    TrafficPolicy,
)

__all__ = [
    "ConnectionPoolSettings",
    "DestinationRule",
    "LoadBalancerSettings",
    "OutlierDetection",
    "PortTrafficPolicy",
    "RetryBudget",
    "Subset",
    "TrafficPolicy",
]


class Subset(Piece, frozen=True):
    name: Text
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class LabelSelector(Piece, frozen=True):
    """``type.istio.io`` WorkloadSelector; without labels everybody of the namespace is meant."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)


class DestinationRule(Piece, frozen=True):
    host: Text
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: LabelSelector | None = None

    def rules(self) -> Iterator[Flaw]:
        if "*" in self.host[1:]:
            yield Flaw(("host",), f"{self.host!r}: a wildcard may only stand first")
        seen: set[str] = set()
        for index, subset in enumerate(self.subsets):
            if subset.name in seen:
                yield Flaw(("subsets", index, "name"), f"subset {subset.name!r} exists already")
            seen.add(subset.name)
