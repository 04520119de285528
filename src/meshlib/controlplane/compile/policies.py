"""trafficPolicy → what a cluster does about load and failure. Istio's defaults, said aloud."""

from dataclasses import dataclass, replace

from ... import model
from ..manifests.client_tls import ClientTLSSettings
from ..manifests.load_balancer import LoadBalancerSettings
from ..manifests.traffic_policy import (
    ConnectionPoolSettings,
    OutlierDetection,
    PortTrafficPolicy,
    RetryBudget,
    TcpKeepalive,
    TrafficPolicy,
)
from ..world import MeshSettings
from .view import Rule

UNLIMITED = 4294967295
DEFAULT_BUDGET_PERCENT = 16.6
"""Of what is in flight, retries with it: one for five calls, so that a total outage makes a fifth
more of the load, and not a quarter as 20 % would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPolicy:
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    retry_budget: RetryBudget | None = None
    tls: ClientTLSSettings | None = None


def policy_of(rule: Rule | None, port: int, subset: str, mesh: MeshSettings) -> ClusterPolicy:
    """What holds for a port and subset; a block that no rule has is the mesh's."""
    chosen = rule.subsets.get(subset) if rule else None
    policy = policy_at(
        port,
        rule.traffic_policy if rule else None,
        chosen.traffic_policy if chosen else None,
    )
    baseline = mesh.default_traffic_policy
    if baseline is None:
        return policy
    return replace(
        policy,
        connection_pool=policy.connection_pool or baseline.connection_pool,
        outlier_detection=policy.outlier_detection or baseline.outlier_detection,
    )


def policy_at(
    port: int, rule: TrafficPolicy | None, subset: TrafficPolicy | None = None
) -> ClusterPolicy:
    """The rule's policy, each part replaced by the subset's where that says something.

    A ``portLevelSettings`` entry replaces all parts: it inherits nothing.
    """
    policy = ClusterPolicy()
    for layer in (rule, subset):
        if layer is None:
            continue
        policy = ClusterPolicy(
            load_balancer=layer.load_balancer or policy.load_balancer,
            connection_pool=layer.connection_pool or policy.connection_pool,
            outlier_detection=layer.outlier_detection or policy.outlier_detection,
            retry_budget=layer.retry_budget or policy.retry_budget,
            tls=layer.tls or policy.tls,
        )
        for settings in layer.port_level_settings:
            if settings.port.number == port:
                policy = _of_port(settings, policy)
                break
    return policy


def _of_port(settings: PortTrafficPolicy, policy: ClusterPolicy) -> ClusterPolicy:
    return ClusterPolicy(
        load_balancer=settings.load_balancer,
        connection_pool=settings.connection_pool,
        outlier_detection=settings.outlier_detection,
        retry_budget=policy.retry_budget,
        tls=settings.tls,
    )


def connect_timeout(policy: ClusterPolicy, mesh: MeshSettings) -> float:
    pool = policy.connection_pool
    return (pool.tcp.connect_timeout if pool else None) or mesh.connect_timeout


def tcp_keepalive(policy: ClusterPolicy, mesh: MeshSettings) -> model.TcpKeepalive | None:
    pool = policy.connection_pool
    said: TcpKeepalive | None = (pool.tcp.tcp_keepalive if pool else None) or mesh.tcp_keepalive
    if said is None:
        return None
    return model.TcpKeepalive(
        keepalive_probes=said.probes,
        keepalive_time=None if said.time is None else int(said.time),
        keepalive_interval=None if said.interval is None else int(said.interval),
    )


def http_protocol_options(
    policy: ClusterPolicy, *, http2: bool
) -> model.HttpProtocolOptions | None:
    """``None`` where nothing is said that is not the default."""
    pool = policy.connection_pool or ConnectionPoolSettings()
    ping = pool.http.http2_keep_alive
    made = model.HttpProtocolOptions(
        http2=http2,
        max_requests_per_connection=pool.http.max_requests_per_connection,
        idle_timeout=pool.http.idle_timeout,
        max_connection_duration=pool.tcp.max_connection_duration or None,
        max_concurrent_streams=(pool.http.max_concurrent_streams or None) if http2 else None,
        keepalive_interval=ping.interval if ping and http2 else None,
        keepalive_timeout=ping.timeout if ping and http2 else None,
    )
    return None if made == model.HttpProtocolOptions() else made


def circuit_breakers(policy: ClusterPolicy) -> model.CircuitBreakers:
    pool = policy.connection_pool or ConnectionPoolSettings()
    # A budget makes Envoy ignore max_retries, so who counts retries gets no budget.
    counted = pool.http.max_retries if policy.retry_budget is None else 0
    budget = policy.retry_budget or RetryBudget(percent=DEFAULT_BUDGET_PERCENT)
    thresholds = model.Thresholds(
        max_connections=pool.tcp.max_connections or UNLIMITED,
        max_pending_requests=pool.http.http1_max_pending_requests or UNLIMITED,
        max_requests=pool.http.http2_max_requests or UNLIMITED,
        max_retries=pool.http.max_retries or UNLIMITED,
        retry_budget=None
        if counted
        else model.RetryBudget(
            budget_percent=budget.percent, min_retry_concurrency=budget.min_retry_concurrency
        ),
    )
    return model.CircuitBreakers(default=thresholds, high=thresholds)


def outlier_detection(policy: ClusterPolicy) -> model.OutlierDetection | None:
    """Success rate is off in Istio; a consecutive count of 0 switches that rule off.

    ``consecutiveErrors``, the oldest way to say it, counts errors of gateways and nothing else.
    """
    said = policy.outlier_detection
    if said is None:
        return None
    default = model.OutlierDetection()
    is_split = said.split_external_local_origin_errors
    legacy = said.consecutive_errors or None
    unsaid = default.consecutive_5xx if legacy is None else 0
    any_5xx = _or(said.consecutive_5xx_errors, unsaid)
    gateway = _or(said.consecutive_gateway_errors, legacy or 0)
    local = _or(said.consecutive_local_origin_failures, default.consecutive_local_origin_failure)
    return model.OutlierDetection(
        consecutive_5xx=any_5xx or default.consecutive_5xx,
        enforcing_consecutive_5xx=100 if any_5xx else 0,
        consecutive_gateway_failure=gateway or default.consecutive_gateway_failure,
        enforcing_consecutive_gateway_failure=100 if gateway else 0,
        split_external_local_origin_errors=is_split,
        consecutive_local_origin_failure=local or default.consecutive_local_origin_failure,
        enforcing_consecutive_local_origin_failure=100 if local else 0,
        interval=said.interval or default.interval,
        base_ejection_time=said.base_ejection_time or default.base_ejection_time,
        max_ejection_percent=said.max_ejection_percent or default.max_ejection_percent,
        enforcing_success_rate=0,
        enforcing_local_origin_success_rate=0,
        error_statuses=said.outlier_detection_http_error_codes,
    )


def panic_threshold(policy: ClusterPolicy) -> float | None:
    said = policy.outlier_detection
    return float(said.min_health_percent) if said else None


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
