"""Clusters as data (``envoy.config.cluster.v3``)."""

from dataclasses import dataclass

from .endpoint import ClusterLoadAssignment
from .metadata import Metadata
from .policy import CircuitBreakers, HealthCheck, OutlierDetection
from .security import TransportSocketMatch, UpstreamTls


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


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The endpoints of other clusters, one after the other as priorities (gRFC A37)."""

    clusters: tuple[str, ...]


Discovery = Eds | Static | StrictDns | LogicalDns | OriginalDst | Aggregate


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowStart:
    """New endpoints take up their weight over ``slow_start_window`` seconds, from
    ``min_weight_percent`` on, by the power ``1 / aggression`` of the time that passed."""

    slow_start_window: float
    aggression: float = 1.0
    min_weight_percent: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRobin:
    """Weighted by ``load_balancing_weight``."""

    slow_start: SlowStart | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastRequest:
    """``full_scan``: all endpoints are looked at instead of ``choice_count`` of them."""

    choice_count: int = 2
    active_request_bias: float = 1.0
    slow_start: SlowStart | None = None
    full_scan: bool = False


@dataclass(frozen=True, slots=True)
class Random:
    """Uniform, weighted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RingHash:
    """``hash_function`` "xx_hash" or "murmur_hash_2". ``use_hostname_for_hashing``: names of
    endpoints instead of addresses. ``hash_balance_factor``: nobody gets more than so many per cent
    of the mean load; 0 is no bound."""

    minimum_ring_size: int = 1024
    maximum_ring_size: int = 8388608
    hash_function: str = "xx_hash"
    use_hostname_for_hashing: bool = False
    hash_balance_factor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Maglev:
    """``table_size`` is prime; the other fields as in :class:`RingHash`."""

    table_size: int = 65537
    use_hostname_for_hashing: bool = False
    hash_balance_factor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PickFirst:
    """All calls to the first endpoint that can be reached (gRFC A62)."""

    shuffle_address_list: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSideWeightedRoundRobin:
    """Weights are what endpoints report of their load by ORCA (gRFC A58); times in seconds."""

    enable_oob_load_report: bool = False
    oob_reporting_period: float = 10.0
    blackout_period: float = 10.0
    weight_expiration_period: float = 180.0
    weight_update_period: float = 1.0
    error_utilization_penalty: float = 1.0
    metric_names_for_computing_utilization: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterProvided:
    """What an :class:`OriginalDst` cluster balances by: not at all."""


Subsettable = RoundRobin | LeastRequest | Random | PickFirst | ClientSideWeightedRoundRobin


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSubsetting:
    """Each client keeps to ``subset_size`` endpoints of its own choice (gRFC A68)."""

    subset_size: int
    child_policy: Subsettable = RoundRobin()


LbPolicy = (
    RoundRobin
    | LeastRequest
    | Random
    | RingHash
    | Maglev
    | PickFirst
    | ClientSideWeightedRoundRobin
    | RandomSubsetting
    | ClusterProvided
)


@dataclass(frozen=True, slots=True)
class LocalityWeighted:
    """Localities share a priority's load by their weights (``locality_weighted_lb_config``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneAware:
    """The client's own zone first (``zone_aware_lb_config``), once the cluster has at least
    ``min_cluster_size`` endpoints. ``routing_enabled`` in per cent of calls."""

    min_cluster_size: int = 6
    routing_enabled: float = 100.0
    fail_traffic_on_panic: bool = False
    force_local_zone_min_size: int | None = None


LocalityLb = LocalityWeighted | ZoneAware


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProtocolOptions:
    """``explicit_http_config``: what the upstream speaks; ``None`` in a cluster is HTTP/1.1.

    ``max_requests_per_connection`` 0 and ``None`` elsewhere are "no limit"; ``idle_timeout``
    ``None`` is unset (an hour), times in seconds.
    """

    http2: bool = False
    max_requests_per_connection: int = 0
    idle_timeout: float | None = None
    max_connection_duration: float | None = None
    max_concurrent_streams: int | None = None
    keepalive_interval: float | None = None
    keepalive_timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpKeepalive:
    """``None``: as the operating system does; times in whole seconds."""

    keepalive_probes: int | None = None
    keepalive_time: int | None = None
    keepalive_interval: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """``healthy_panic_threshold`` in per cent; ``None`` is unset (Envoy: 50).

    ``lrs_server``: who sent this wants to be told of the load that calls make (gRFC A27), and
    besides of those metrics of its endpoints that ``lrs_report_endpoint_metrics`` names:
    ``cpu_utilization``, ``named_metrics.*``, … (gRFC A85).

    ``tls`` is for endpoints that no one of ``transport_socket_matches`` fits; ``None``: plain text.
    """

    name: str
    discovery: Discovery = Eds()
    connect_timeout: float = 5.0
    lb_policy: LbPolicy = RoundRobin()
    circuit_breakers: CircuitBreakers = CircuitBreakers()
    outlier_detection: OutlierDetection | None = None
    http_protocol_options: HttpProtocolOptions | None = None
    healthy_panic_threshold: float | None = None
    locality_lb: LocalityLb | None = None
    health_checks: tuple[HealthCheck, ...] = ()
    ignore_health_on_host_removal: bool = False
    tcp_keepalive: TcpKeepalive | None = None
    metadata: Metadata = Metadata()
    lrs_server: bool = False
    lrs_report_endpoint_metrics: tuple[str, ...] = ()
    tls: UpstreamTls | None = None
    transport_socket_matches: tuple[TransportSocketMatch, ...] = ()

    @property
    def load_assignment_name(self) -> str | None:
        """The name of the EDS resource that this cluster needs, or ``None``."""
        if isinstance(self.discovery, Eds):
            return self.discovery.service_name or self.name
        return None

    @property
    def is_external(self) -> bool:
        """Not of the mesh, as Istio marks it."""
        return self.metadata.get("istio", "external") is True

    @property
    def children(self) -> tuple[str, ...]:
        """The clusters that this one is made of."""
        return self.discovery.clusters if isinstance(self.discovery, Aggregate) else ()
