"""Envoy knows nearly all that the model says; what is meshlib's or gRPC's own it refuses."""

from dataclasses import replace

from ...model import (
    AdaptiveConcurrency,
    AdmissionControl,
    Aggregate,
    ClientSideWeightedRoundRobin,
    Cluster,
    ClusterProvided,
    FilterOverride,
    GlobalRateLimit,
    Listener,
    LogicalDns,
    Maglev,
    Overrides,
    PickFirst,
    RandomSubsetting,
    RingHash,
    RoundRobin,
    RouteConfiguration,
    Snapshot,
    StrictDns,
    ZoneAware,
)
from ..compile.inbound import INBOUND
from .downgrade import Downgrade, Report
from .envoy_security import rooted, with_issuers
from .envoy_telemetry import envoy_telemetry
from .overriding import with_overrides

AS_ENVOY = "for Envoy"


def for_envoy(snapshot: Snapshot, report: Report) -> Snapshot:
    def table(found: RouteConfiguration) -> RouteConfiguration:
        where = f"routes/{found.name}"
        return with_overrides(found, lambda listed: _overrides(listed, where, report))

    listeners: dict[str, Listener] = {}
    issuers: dict[str, Cluster] = {}
    for name, listener in snapshot.listeners.items():
        # An API listener is called by name; an Envoy has nobody who would, and refuses it. And
        # the one that is called "inbound" is of a member that meshlib serves itself.
        if listener.address is None or name == INBOUND:
            continue
        http = listener.http
        if isinstance(http.routes, RouteConfiguration):
            http = replace(http, routes=table(http.routes))
        http = envoy_telemetry(http, f"listeners/{name}", report)
        listeners[name], asked = with_issuers(replace(listener, http=http), report)
        issuers |= {one.name: one for one in asked}
    return replace(
        snapshot,
        listeners=listeners,
        routes={name: table(found) for name, found in snapshot.routes.items()},
        clusters={
            **issuers,
            **{name: _cluster(found, report) for name, found in snapshot.clusters.items()},
        },
    )


def _cluster(cluster: Cluster, report: Report) -> Cluster:
    where = f"clusters/{cluster.name}"
    if isinstance(cluster.discovery, Aggregate):
        return replace(cluster, lb_policy=ClusterProvided())  # which says no more than "its own"
    cluster = rooted(_balanced(cluster, where, report), report)
    if len(cluster.health_checks) > 1:
        report(Downgrade(where, f"the first health check alone counts {AS_ENVOY}"))
        cluster = replace(cluster, health_checks=cluster.health_checks[:1])
    return cluster


def _balanced(cluster: Cluster, where: str, report: Report) -> Cluster:
    policy, said = cluster.lb_policy, ""
    if isinstance(policy, RandomSubsetting):
        policy, said = policy.child_policy, "RandomSubsetting is its child policy"
    if isinstance(policy, PickFirst):
        policy, said = RoundRobin(), "PickFirst is RoundRobin"
    has_names = isinstance(cluster.discovery, StrictDns | LogicalDns)
    if isinstance(policy, RingHash | Maglev) and policy.use_hostname_for_hashing and not has_names:
        policy = replace(policy, use_hostname_for_hashing=False)
        said = "endpoints of a cluster without names are hashed by address"
    if said:
        report(Downgrade(where, f"{said} {AS_ENVOY}"))
    cluster = replace(cluster, lb_policy=policy)
    weighted_by_load = isinstance(policy, ClientSideWeightedRoundRobin)
    if isinstance(cluster.locality_lb, ZoneAware) and weighted_by_load:
        report(Downgrade(where, f"{type(policy).__name__} is not zone-aware {AS_ENVOY}"))
        cluster = replace(cluster, locality_lb=None)
    return cluster


def _overrides(listed: Overrides, where: str, report: Report) -> Overrides:
    found = (_override(one, where, report) for one in listed)
    return tuple(override for override in found if override is not None)


def _override(override: FilterOverride, where: str, report: Report) -> FilterOverride | None:
    inside = f"{where}: typed_per_filter_config[{override.name}]"
    match override.config:
        case GlobalRateLimit(cluster=cluster) if cluster:
            report(Downgrade(inside, f"all but domain and rate_limits has no effect {AS_ENVOY}"))
            limits, domain = override.config.rate_limits, override.config.domain
            per_route = GlobalRateLimit(domain=domain, cluster="", rate_limits=limits)
            return replace(override, config=per_route)
        case AdaptiveConcurrency() | AdmissionControl() | None if not override.disabled:
            report(Downgrade(inside, f"left out {AS_ENVOY}"))
            return None
        case _:
            return override
