"""``trafficPolicy`` of a DestinationRule: pools, ejections and budgets."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from .client_tls import ClientTLSSettings
from .load_balancer import LoadBalancerSettings
from .piece import Count, Duration, Flaw, Percent, Piece, Port

HttpStatus = Annotated[int, msgspec.Meta(ge=100, le=599)]
H2UpgradePolicy = Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]


class TcpKeepalive(Piece, frozen=True):
    probes: Count | None = None
    time: Duration | None = None
    interval: Duration | None = None

    def rules(self) -> Iterator[Flaw]:
        for name, seconds in (("time", self.time), ("interval", self.interval)):
            if seconds is not None and (seconds % 1 or not seconds):
                yield Flaw((name,), f"{name} is counted in whole seconds, from 1 on")


class TCPSettings(Piece, frozen=True):
    max_connections: Count = 0
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


class Http2KeepAlive(Piece, frozen=True):
    interval: Duration | None = None
    timeout: Duration | None = None

    def rules(self) -> Iterator[Flaw]:
        if self.timeout is not None and not self.interval:
            yield Flaw((), "interval is missing")


class HTTPSettings(Piece, frozen=True):
    http1_max_pending_requests: Count = 0
    http2_max_requests: Count = 0
    max_requests_per_connection: Count = 0
    max_retries: Count = 0
    idle_timeout: Duration | None = None
    h2_upgrade_policy: H2UpgradePolicy = "DEFAULT"
    use_client_protocol: bool = False
    max_concurrent_streams: Count = 0
    http2_keep_alive: Http2KeepAlive | None = None


class ConnectionPoolSettings(Piece, frozen=True):
    """0 means "not said", as in Istio."""

    tcp: TCPSettings = TCPSettings()
    http: HTTPSettings = HTTPSettings()


class OutlierDetection(Piece, frozen=True):
    consecutive_errors: Count | None = None
    consecutive_gateway_errors: Count | None = None
    consecutive_5xx_errors: Count | None = msgspec.field(default=None, name="consecutive5xxErrors")
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: Count | None = None
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Percent = 0
    min_health_percent: Percent = 0
    outlier_detection_http_error_codes: tuple[HttpStatus, ...] = ()


class RetryBudget(Piece, frozen=True):
    percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 20.0
    min_retry_concurrency: Count = 3
    interval: Duration | None = None


class PortSelector(Piece, frozen=True):
    number: Port


class PortTrafficPolicy(Piece, frozen=True):
    port: PortSelector
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


class TrafficPolicy(Piece, frozen=True):
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()
    retry_budget: RetryBudget | None = None
    NOT_YET = frozenset({"tunnel", "proxyProtocol"})

    def rules(self) -> Iterator[Flaw]:
        seen: set[int] = set()
        for index, settings in enumerate(self.port_level_settings):
            number = settings.port.number
            if number in seen:
                where = ("portLevelSettings", index, "port", "number")
                yield Flaw(where, f"port {number} stands twice")
            seen.add(number)


class DefaultTrafficPolicy(Piece, frozen=True):
    """What the MeshConfig says for rules that leave a block out."""

    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
