"""What a client tells of the load that it makes (``envoy.config.endpoint.v3``, load_report)."""

from dataclasses import dataclass

from .endpoint import Address, Locality


@dataclass(frozen=True, slots=True)
class MetricStats:
    """A metric over the calls that an endpoint gave it for (``EndpointLoadMetricStats``)."""

    count: int
    total: float


Metrics = tuple[tuple[str, MetricStats], ...]
"""By name, as ``lrs_report_endpoint_metrics`` spells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStats:
    """``UpstreamEndpointStats``; what is in progress is in progress now."""

    address: Address
    successful: int = 0
    in_progress: int = 0
    error: int = 0
    issued: int = 0
    metrics: Metrics = ()

    @property
    def is_idle(self) -> bool:
        return not (self.successful or self.in_progress or self.error or self.issued)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityStats:
    """``UpstreamLocalityStats``: those of its endpoints that did something."""

    locality: Locality
    priority: int = 0
    endpoints: tuple[EndpointStats, ...] = ()

    @property
    def successful(self) -> int:
        return sum(each.successful for each in self.endpoints)

    @property
    def in_progress(self) -> int:
        return sum(each.in_progress for each in self.endpoints)

    @property
    def error(self) -> int:
        return sum(each.error for each in self.endpoints)

    @property
    def issued(self) -> int:
        return sum(each.issued for each in self.endpoints)

    @property
    def metrics(self) -> Metrics:
        found: dict[str, MetricStats] = {}
        for endpoint in self.endpoints:
            for name, each in endpoint.metrics:
                known = found.get(name, MetricStats(0, 0.0))
                found[name] = MetricStats(known.count + each.count, known.total + each.total)
        return tuple(sorted(found.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStats:
    """``interval`` in seconds. ``total_dropped`` has those without a category too."""

    cluster_name: str
    cluster_service_name: str = ""
    localities: tuple[LocalityStats, ...] = ()
    total_dropped: int = 0
    dropped: tuple[tuple[str, int], ...] = ()
    interval: float = 0.0
