"""Clusters as stock gRPC clients take them."""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from ...model import (
    Aggregate,
    CircuitBreakers,
    ClientSideWeightedRoundRobin,
    Cluster,
    ClusterLoadAssignment,
    ClusterProvided,
    LbPolicy,
    LeastRequest,
    LogicalDns,
    Maglev,
    OutlierDetection,
    PickFirst,
    Random,
    RandomSubsetting,
    RingHash,
    RoundRobin,
    Static,
    StrictDns,
    Thresholds,
    ZoneAware,
)
from ..node import ClientKind
from .downgrade import Downgrade, Report, report_ignored

REFUSED: dict[ClientKind, tuple[type, ...]] = {
    ClientKind.GRPC: (LeastRequest, Random, Maglev),
    ClientKind.GRPC_GO: (Random, Maglev),
    ClientKind.GRPC_JAVA: (Random, Maglev),
    ClientKind.GRPC_NODE: (LeastRequest, Random, Maglev, PickFirst, ClientSideWeightedRoundRobin),
}
NO_LIMIT = 2**32 - 1
UNSEEN = ("max_connections", "max_pending_requests", "max_retries", "retry_budget")
CONSECUTIVE = (
    "enforcing_consecutive_5xx",
    "enforcing_consecutive_gateway_failure",
    "split_external_local_origin_errors",
)


def grpc_cluster(
    cluster: Cluster, gone: AbstractSet[str], kind: ClientKind, report: Report
) -> Cluster:
    where = f"clusters/{cluster.name}"
    _report_ignored(cluster, where, report)
    policy = _lb_policy(cluster.lb_policy, where, kind, report)
    cluster = replace(cluster, lb_policy=policy)
    match cluster.discovery:
        case StrictDns(assignment, rate) | LogicalDns(assignment, rate):
            first = _first_endpoint(assignment)
            if first is None:
                return replace(cluster, discovery=Static(assignment))
            if first != assignment:
                said = "one DNS name per cluster is all that gRPC clients take; the first is used"
                report(Downgrade(where, said))
            return replace(cluster, discovery=LogicalDns(first, rate))
        case Aggregate(children):
            left = tuple(child for child in children if child not in gone)
            if left != children:
                report(Downgrade(where, "what is outside of the mesh is no part of it for gRPC"))
            return replace(cluster, discovery=Aggregate(left))
        case _:
            return cluster


def _lb_policy(policy: LbPolicy, where: str, kind: ClientKind, report: Report) -> LbPolicy:
    if isinstance(policy, ClusterProvided):  # an aggregate's, who leaves it to its children
        return RoundRobin()
    if isinstance(policy, RandomSubsetting):
        report(Downgrade(where, "RandomSubsetting is its child policy for gRPC clients"))
        policy = policy.child_policy
    if isinstance(policy, REFUSED[kind]):
        report(Downgrade(where, f"{type(policy).__name__} is RoundRobin for gRPC clients"))
        return RoundRobin()
    match policy:
        case RingHash(hash_function="murmur_hash_2"):
            report(Downgrade(where, "MURMUR_HASH_2 is XX_HASH for gRPC clients"))
            return replace(policy, hash_function="xx_hash")
        case _:
            return policy


def _report_ignored(cluster: Cluster, where: str, report: Report) -> None:
    policy, outlier = cluster.lb_policy, cluster.outlier_detection
    hashing = policy if isinstance(policy, RingHash) else None
    facts = (
        ("health_checks", cluster.health_checks),
        ("circuit_breakers but max_requests", _is_limited(cluster.circuit_breakers)),
        ("consecutive errors of outlier_detection", outlier and _is_consecutive(outlier)),
        ("zone_aware_lb_config", isinstance(cluster.locality_lb, ZoneAware)),
        ("slow_start_config", isinstance(policy, RoundRobin) and policy.slow_start),
        ("use_hostname_for_hashing", hashing and hashing.use_hostname_for_hashing),
        ("hash_balance_factor", hashing and hashing.hash_balance_factor),
        ("tcp_keepalive", cluster.tcp_keepalive),
    )
    report_ignored(where, facts, "gRPC", report)


def _is_limited(breakers: CircuitBreakers) -> bool:
    """Does anything but ``max_requests`` of the default priority say more than "no limit"?"""
    default = Thresholds()
    return breakers.default.max_connections_per_host is not None or any(
        getattr(level, name) not in (getattr(default, name), NO_LIMIT)
        for level in (breakers.default, breakers.high)
        for name in UNSEEN
    )


def _is_consecutive(outlier: OutlierDetection) -> bool:
    return any(getattr(outlier, name) for name in CONSECUTIVE)


def _first_endpoint(assignment: ClusterLoadAssignment) -> ClusterLoadAssignment | None:
    for group in assignment.endpoints:
        if group.lb_endpoints:
            one = replace(group, lb_endpoints=group.lb_endpoints[:1])
            return replace(assignment, endpoints=(one,))
    return None
