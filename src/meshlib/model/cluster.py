"""Clusters as data (``envoy.config.cluster.v3``)."""

from dataclasses import dataclass

from .endpoint import ClusterLoadAssignment
from .metadata import Metadata
from .policy import CircuitBreakers, OutlierDetection


@dataclass(frozen=True, slots=True)
class Eds:
    """Endpoints come by EDS under ``service_name``, or under the cluster's name when empty."""

    service_name: str = ""


@dataclass(frozen=True, slots=True)
class Static:
    load_assignment: ClusterLoadAssignment


@dataclass(frozen=True, slots=True)
class StrictDns:
    """Every address that the names resolve to is an endpoint."""

    load_assignment: ClusterLoadAssignment
    dns_refresh_rate: float = 5.0


@dataclass(frozen=True, slots=True)
class LogicalDns:
    """One endpoint, whose name is resolved anew for new connections."""

    load_assignment: ClusterLoadAssignment
    dns_refresh_rate: float = 5.0


@dataclass(frozen=True, slots=True)
class OriginalDst:
    """The place that the caller named itself (Istio's PassthroughCluster)."""


Discovery = Eds | Static | StrictDns | LogicalDns | OriginalDst


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """Weighted by ``load_balancing_weight``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastRequest:
    choice_count: int = 2


@dataclass(frozen=True, slots=True)
class Random:
    """Uniform, weighted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RingHash:
    minimum_ring_size: int = 1024
    maximum_ring_size: int = 8388608


@dataclass(frozen=True, slots=True, kw_only=True)
class Maglev:
    table_size: int = 65537


@dataclass(frozen=True, slots=True)
class ClusterProvided:
    """What an :class:`OriginalDst` cluster balances by: not at all."""


LbPolicy = RoundRobin | LeastRequest | Random | RingHash | Maglev | ClusterProvided


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProtocolOptions:
    """``explicit_http_config``: what the upstream speaks; ``None`` in a cluster is HTTP/1.1."""

    http2: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """``healthy_panic_threshold`` in per cent; ``None`` is unset (Envoy: 50)."""

    name: str
    discovery: Discovery = Eds()
    connect_timeout: float = 5.0
    lb_policy: LbPolicy = RoundRobin()
    circuit_breakers: CircuitBreakers = CircuitBreakers()
    outlier_detection: OutlierDetection | None = None
    http_protocol_options: HttpProtocolOptions | None = None
    healthy_panic_threshold: float | None = None
    metadata: Metadata = Metadata()

    @property
    def load_assignment_name(self) -> str | None:
        """The name of the EDS resource that this cluster needs, or ``None``."""
        if isinstance(self.discovery, Eds):
            return self.discovery.service_name or self.name
        return None
