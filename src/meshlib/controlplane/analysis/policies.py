"""Traffic policies: what of them has no effect, or not the one that it seems to have."""

from collections.abc import Iterator

from ..manifests.load_balancer import LoadBalancerSettings
from ..manifests.marks import Path
from ..manifests.traffic_policy import (
    ConnectionPoolSettings,
    OutlierDetection,
    PortTrafficPolicy,
    TrafficPolicy,
)

Remark = tuple[Path, str]


def remarks(policy: TrafficPolicy | PortTrafficPolicy, *, ejects: bool) -> Iterator[Remark]:
    """Each with its path below the policy; ``ejects``: outlier detection is inherited."""
    ejects = ejects or policy.outlier_detection is not None
    if policy.load_balancer is not None:
        for path, said in _load_balancer(policy.load_balancer, ejects=ejects):
            yield ("loadBalancer", *path), said
    if policy.connection_pool is not None:
        for path, said in remarks_of_pool(policy.connection_pool):
            yield ("connectionPool", *path), said
    if policy.outlier_detection is not None:
        for path, said in _outlier_detection(policy.outlier_detection):
            yield ("outlierDetection", *path), said
    if isinstance(policy, TrafficPolicy):
        yield from _budget(policy)


def _load_balancer(said: LoadBalancerSettings, *, ejects: bool) -> Iterator[Remark]:
    hashed = said.consistent_hash
    if hashed is not None and not hashed.has_key:
        yield ("consistentHash",), "has no key to hash: every call goes to any endpoint"
    warms = said.warmup is not None or bool(said.warmup_duration_secs)
    if warms and (hashed is not None or said.simple in {"RANDOM", "PASSTHROUGH"}):
        field = "warmup" if said.warmup is not None else "warmupDurationSecs"
        yield (field,), f"{field} has an effect with ROUND_ROBIN and LEAST_REQUEST only"
    yield from _localities(said, ejects=ejects)


def _localities(said: LoadBalancerSettings, *, ejects: bool) -> Iterator[Remark]:
    for field, setting in (
        ("localityLbSetting", said.locality_lb_setting),
        ("zoneAwareLbSetting", said.zone_aware_lb_setting),
    ):
        if setting is None:
            continue
        if said.simple == "PASSTHROUGH":
            yield (field,), f"{field} has no effect with PASSTHROUGH"
        elif not ejects:
            for name, rules in (
                ("failover", setting.failover),
                ("failoverPriority", setting.failover_priority),
            ):
                if rules:
                    where = (field, name)
                    yield where, f"{name} has no effect without outlierDetection"


def remarks_of_pool(pool: ConnectionPoolSettings) -> Iterator[Remark]:
    if pool.http.http2_keep_alive is not None:
        said = "http2KeepAlive has no effect on HTTP: aiohttp speaks HTTP/1.1"
        yield ("http", "http2KeepAlive"), said
    if pool.http.max_concurrent_streams:
        said = "maxConcurrentStreams is served to other clients; to gRPC's own the server says it"
        yield ("http", "maxConcurrentStreams"), said
    if pool.tcp.idle_timeout is not None:
        yield ("tcp", "idleTimeout"), "idleTimeout of tcp has no effect on HTTP and gRPC"
    if pool.http.h2_upgrade_policy != "DEFAULT":
        said = "h2UpgradePolicy has no effect: gRPC speaks HTTP/2 always, aiohttp HTTP/1.1"
        yield ("http", "h2UpgradePolicy"), said
    if pool.http.use_client_protocol:
        said = "useClientProtocol has no effect: there is no proxy that could change the protocol"
        yield ("http", "useClientProtocol"), said


def _outlier_detection(said: OutlierDetection) -> Iterator[Remark]:
    if said.consecutive_local_origin_failures and not said.split_external_local_origin_errors:
        field = "consecutiveLocalOriginFailures"
        yield (field,), f"{field} has no effect without splitExternalLocalOriginErrors"
    gateway, any_5xx = said.consecutive_gateway_errors or 0, said.consecutive_5xx_errors
    if gateway and any_5xx and gateway >= any_5xx:
        field = "consecutiveGatewayErrors"
        yield (field,), f"{field} has no effect: consecutive5xxErrors is reached first"
    newer = said.consecutive_gateway_errors is not None and any_5xx is not None
    if said.consecutive_errors and newer:
        field = "consecutiveErrors"
        yield (field,), f"{field} has no effect beside the newer fields"


def _budget(policy: TrafficPolicy) -> Iterator[Remark]:
    budget, pool = policy.retry_budget, policy.connection_pool
    if budget is None:
        return
    if budget.interval:
        said = "interval has no effect: retries are counted while they run, as Envoy does"
        yield ("retryBudget", "interval"), said
    if pool is not None and pool.http.max_retries:
        where = ("connectionPool", "http", "maxRetries")
        yield where, "maxRetries has no effect beside a retryBudget"
