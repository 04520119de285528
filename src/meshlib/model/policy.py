"""Resilience policies as data. Times are seconds, percentages whole numbers."""

from dataclasses import dataclass

from .matcher import HeaderMatcher

RETRY_CONDITIONS = frozenset(
    {"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "refused-stream"}
    | {"retriable-4xx", "retriable-status-codes", "retriable-headers", "envoy-ratelimited"}
    | {"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
    | {"unknown", "aborted", "data-loss"}
)
"""The words of ``retry_on`` that the data plane acts on; the last three are meshlib's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBackOff:
    """``base_interval`` and cap; unset cap means ten times the base (route.proto)."""

    base_interval: float = 0.025
    max_interval: float | None = None

    @property
    def cap(self) -> float:
        return self.max_interval if self.max_interval is not None else 10 * self.base_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetHeader:
    """Where a server says when to come back; ``format`` ``seconds`` or ``unix_timestamp``."""

    name: str
    format: str = "seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitedRetryBackOff:
    """Wait as long as the first of these headers says; longer than the cap does not count."""

    reset_headers: tuple[ResetHeader, ...]
    max_interval: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """``envoy.config.route.v3.RetryPolicy``; ``retry_on`` holds Envoy's condition words.

    ``retriable_request_headers``: only requests that one of these matches are retried.
    ``previous_priorities``: other priorities first, counted anew after so many attempts
    (Envoy's retry priority of that name; Istio's ``retryRemoteLocalities``).

    ``host_selection_retry_max_attempts`` is for Envoy, which draws until it meets a host that was
    not tried; here those that were tried (``previous_hosts``) do not take part.
    """

    retry_on: tuple[str, ...] = ()
    num_retries: int = 1
    per_try_timeout: float | None = None
    per_try_idle_timeout: float | None = None
    retriable_status_codes: tuple[int, ...] = ()
    retry_back_off: RetryBackOff = RetryBackOff()
    retriable_headers: tuple[HeaderMatcher, ...] = ()
    retriable_request_headers: tuple[HeaderMatcher, ...] = ()
    rate_limited_retry_back_off: RateLimitedRetryBackOff | None = None
    previous_hosts: bool = False
    host_selection_retry_max_attempts: int = 1
    previous_priorities: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgePolicy:
    """``envoy.config.route.v3.HedgePolicy``, and gRPC's hedging (gRFC A6) by ``hedging_delay``.

    ``initial_requests`` attempts are begun at once or, with a delay, one after the other;
    ``additional_request_chance`` is the share of calls, in per cent, that get one more.
    ``hedge_on_per_try_timeout``: a try that takes too long goes on while the next one begins.
    ``hedging_delay`` is meshlib's own, in seconds; ``None``: all at once.
    """

    initial_requests: int = 1
    additional_request_chance: float = 0.0
    hedge_on_per_try_timeout: bool = False
    hedging_delay: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """At most so many per cent of active requests may be retries (circuit_breaker.proto)."""

    budget_percent: float = 20.0
    min_retry_concurrency: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Concurrency limits of one priority; the defaults are Envoy's.

    ``max_connections_per_host``: ``per_host_thresholds``, of the default priority only.
    """

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    max_connections_per_host: int | None = None
    retry_budget: RetryBudget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreakers:
    default: Thresholds = Thresholds()
    high: Thresholds = Thresholds()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """``envoy.config.cluster.v3.OutlierDetection`` with Envoy's defaults.

    ``error_statuses``: what of an HTTP answer counts as an error, where that is not 5xx (Istio's
    ``outlierDetectionHttpErrorCodes``; Envoy's ``monitors``); empty: 5xx.
    """

    consecutive_5xx: int = 5
    interval: float = 10.0
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejection_percent: int = 10
    enforcing_consecutive_5xx: int = 100
    consecutive_gateway_failure: int = 5
    enforcing_consecutive_gateway_failure: int = 0
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failure: int = 5
    enforcing_consecutive_local_origin_failure: int = 100
    enforcing_success_rate: int = 100
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: int = 1900
    failure_percentage_threshold: int = 85
    enforcing_failure_percentage: int = 0
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    enforcing_local_origin_success_rate: int = 100
    enforcing_failure_percentage_local_origin: int = 0
    max_ejection_time_jitter: float = 0.0
    successful_active_health_check_uneject_host: bool = True
    always_eject_one_host: bool = False
    error_statuses: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpHealthCheck:
    """``expected_statuses`` and ``retriable_statuses``: half-open ranges ``[start, end)``.

    ``host`` "" is the endpoint's hostname, else the cluster's name.
    """

    path: str
    host: str = ""
    method: str = "GET"
    expected_statuses: tuple[tuple[int, int], ...] = ((200, 201),)
    retriable_statuses: tuple[tuple[int, int], ...] = ()
    request_headers_to_add: tuple[tuple[str, str], ...] = ()
    http2: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcHealthCheck:
    """``grpc.health.v1.Health/Check`` of ``service_name``; "" asks for the whole server."""

    service_name: str = ""
    authority: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpHealthCheck:
    """Connect; send ``send``; then every block of ``receive`` must come, in this order."""

    send: bytes = b""
    receive: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """``envoy.config.core.v3.HealthCheck``; times in seconds, ``None`` is "as ``interval``"."""

    checker: HttpHealthCheck | GrpcHealthCheck | TcpHealthCheck
    timeout: float
    interval: float
    unhealthy_threshold: int
    healthy_threshold: int
    initial_jitter: float = 0.0
    interval_jitter: float = 0.0
    interval_jitter_percent: int = 0
    no_traffic_interval: float = 60.0
    no_traffic_healthy_interval: float | None = None
    unhealthy_interval: float | None = None
    unhealthy_edge_interval: float | None = None
    healthy_edge_interval: float | None = None
    reuse_connection: bool = True
    always_log_health_check_failures: bool = False
