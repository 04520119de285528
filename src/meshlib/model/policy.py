"""Resilience policies as data. Times are seconds, percentages whole numbers."""

from dataclasses import dataclass

RETRY_CONDITIONS = frozenset(
    {"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "refused-stream"}
    | {"retriable-4xx", "retriable-status-codes"}
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
class RetryPolicy:
    """``envoy.config.route.v3.RetryPolicy``; ``retry_on`` holds Envoy's condition words.

    ``host_selection_retry_max_attempts`` is for Envoy, which draws until it meets a host that was
    not tried; here those that were tried (``previous_hosts``) do not take part.
    """

    retry_on: tuple[str, ...] = ()
    num_retries: int = 1
    per_try_timeout: float | None = None
    per_try_idle_timeout: float | None = None
    retriable_status_codes: tuple[int, ...] = ()
    retry_back_off: RetryBackOff = RetryBackOff()
    previous_hosts: bool = False
    host_selection_retry_max_attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """At most so many per cent of active requests may be retries (circuit_breaker.proto)."""

    budget_percent: float = 20.0
    min_retry_concurrency: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Concurrency limits of one priority; the defaults are Envoy's."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    retry_budget: RetryBudget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreakers:
    default: Thresholds = Thresholds()
    high: Thresholds = Thresholds()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """``envoy.config.cluster.v3.OutlierDetection`` with Envoy's defaults."""

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
