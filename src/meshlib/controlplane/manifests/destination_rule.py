"""``networking.istio.io`` DestinationRule."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from .piece import Count, Duration, Flaw, Percent, Piece, Port, Text, not_yet

Algorithm = Literal[
    "UNSPECIFIED", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN", "RANDOM", "PASSTHROUGH"
]


class LoadBalancerSettings(Piece, frozen=True):
    simple: Algorithm = "UNSPECIFIED"
    NOT_YET = frozenset(
        {"consistentHash", "localityLbSetting", "zoneAwareLbSetting"}
        | {"warmup", "warmupDurationSecs"}
    )

    def rules(self) -> Iterator[Flaw]:
        if self.simple == "PASSTHROUGH":
            yield not_yet("simple", what="PASSTHROUGH")


class TCPSettings(Piece, frozen=True):
    max_connections: Count = 0
    connect_timeout: Duration | None = None
    NOT_YET = frozenset({"tcpKeepalive", "maxConnectionDuration", "idleTimeout"})


class HTTPSettings(Piece, frozen=True):
    http1_max_pending_requests: Count = 0
    http2_max_requests: Count = 0
    max_retries: Count = 0
    NOT_YET = frozenset(
        {"maxRequestsPerConnection", "idleTimeout", "h2UpgradePolicy", "useClientProtocol"}
        | {"maxConcurrentStreams", "http2KeepAlive"}
    )


class ConnectionPoolSettings(Piece, frozen=True):
    """0 means "not said", as in Istio."""

    tcp: TCPSettings = TCPSettings()
    http: HTTPSettings = HTTPSettings()


class OutlierDetection(Piece, frozen=True):
    consecutive_gateway_errors: Count | None = None
    consecutive_5xx_errors: Count | None = msgspec.field(default=None, name="consecutive5xxErrors")
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: Count | None = None
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Percent = 0
    min_health_percent: Percent = 0
    NOT_YET = frozenset({"consecutiveErrors"})


class RetryBudget(Piece, frozen=True):
    percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 20.0
    min_retry_concurrency: Count = 3
    NOT_YET = frozenset({"interval"})


class PortSelector(Piece, frozen=True):
    number: Port


class PortTrafficPolicy(Piece, frozen=True):
    port: PortSelector
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    NOT_YET = frozenset({"tls"})


class TrafficPolicy(Piece, frozen=True):
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()
    retry_budget: RetryBudget | None = None
    NOT_YET = frozenset({"tls", "tunnel", "proxyProtocol"})


class Subset(Piece, frozen=True):
    name: Text
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class DestinationRule(Piece, frozen=True):
    host: Text
    subsets: tuple[Subset, ...] = ()
    traffic_policy: TrafficPolicy | None = None
    export_to: tuple[str, ...] = ()
    NOT_YET = frozenset({"workloadSelector"})

    def rules(self) -> Iterator[Flaw]:
        if "*" in self.host[1:]:
            yield Flaw(("host",), f"{self.host!r}: a wildcard may only stand first")
        seen: set[str] = set()
        for index, subset in enumerate(self.subsets):
            if subset.name in seen:
                yield Flaw(("subsets", index, "name"), f"subset {subset.name!r} exists already")
            seen.add(subset.name)
