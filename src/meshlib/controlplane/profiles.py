"""What a kind of client cannot take is said in a way that it can, instead of provoking a NACK.

A gRPC client refuses a whole route table for one matcher that it does not know, and a cluster
for its balancer; each change made for its sake is a :class:`Downgrade` to be reported.
"""

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from ..model import (
    Cluster,
    ClusterHeader,
    ClusterLoadAssignment,
    Eds,
    LeastRequest,
    LogicalDns,
    Maglev,
    OriginalDst,
    PathRegex,
    PathSeparatedPrefix,
    Random,
    RoundRobin,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    Snapshot,
    Static,
    StrictDns,
    WeightedClusters,
)
from .node import ClientKind


@dataclass(frozen=True, slots=True)
class Downgrade:
    resource: str
    what: str

    def __str__(self) -> str:
        return f"{self.resource}: {self.what}"


Report = Callable[[Downgrade], None]


def adapt(snapshot: Snapshot, kind: ClientKind, report: Report) -> Snapshot:
    """The snapshot as clients of this kind understand it."""
    match kind:
        case ClientKind.GRPC:
            return _for_grpc(snapshot, report)
        case ClientKind.ENVOY:
            # An API listener is called by name; an Envoy has nobody who would, and refuses it.
            real = {n: one for n, one in snapshot.listeners.items() if one.address is not None}
            return replace(snapshot, listeners=real)
        case ClientKind.MESHLIB | ClientKind.OTHER:
            return snapshot


def _for_grpc(snapshot: Snapshot, report: Report) -> Snapshot:
    endpoints = dict(snapshot.endpoints)
    clusters = {}
    for name, configured in snapshot.clusters.items():
        if isinstance(configured.discovery, OriginalDst):
            continue  # a gRPC client calls hosts that are not of the mesh without xDS
        cluster = _grpc_cluster(configured, report)
        if isinstance(cluster.discovery, Static):  # what stands in it comes by EDS instead
            endpoints[name] = replace(cluster.discovery.load_assignment, cluster_name=name)
            clusters[name] = replace(cluster, discovery=Eds())
        else:
            clusters[name] = cluster
    gone = snapshot.clusters.keys() - clusters.keys()
    listeners = {}
    for name, listener in snapshot.listeners.items():
        http = listener.http
        if isinstance(http.routes, RouteConfiguration):
            http = replace(http, routes=_grpc_table(http.routes, gone, report))
        listeners[name] = replace(listener, http=http)
    # Tables that no listener names (those of Envoy's ports) are out of a gRPC client's reach.
    named = {listener.route_config_name for listener in listeners.values()}
    routes = {
        name: _grpc_table(table, gone, report)
        for name, table in snapshot.routes.items()
        if name in named
    }
    return replace(
        snapshot, clusters=clusters, endpoints=endpoints, routes=routes, listeners=listeners
    )


def _grpc_cluster(cluster: Cluster, report: Report) -> Cluster:
    where = f"clusters/{cluster.name}"
    match cluster.lb_policy:
        case LeastRequest() | Random() | Maglev():
            policy = type(cluster.lb_policy).__name__
            report(Downgrade(where, f"{policy} is RoundRobin for gRPC clients"))
            cluster = replace(cluster, lb_policy=RoundRobin())
        case _:
            pass
    match cluster.discovery:
        case StrictDns(assignment, rate) | LogicalDns(assignment, rate):
            first = _first_endpoint(assignment)
            if first is None:
                return replace(cluster, discovery=Static(assignment))
            if first != assignment:
                said = "one DNS name per cluster is all that gRPC clients take; the first is used"
                report(Downgrade(where, said))
            return replace(cluster, discovery=LogicalDns(first, rate))
        case _:
            return cluster


def _first_endpoint(assignment: ClusterLoadAssignment) -> ClusterLoadAssignment | None:
    for group in assignment.endpoints:
        if group.lb_endpoints:
            one = replace(group, lb_endpoints=group.lb_endpoints[:1])
            return replace(assignment, endpoints=(one,))
    return None


def _grpc_table(
    table: RouteConfiguration, gone: AbstractSet[str], report: Report
) -> RouteConfiguration:
    hosts = []
    for host in table.virtual_hosts:
        where = f"routes/{table.name}: virtual_hosts[{host.name}]"
        routes = [
            _grpc_route(route, where, report)
            for route in host.routes
            if not _leads_to(route, gone, where, report)
        ]
        hosts.append(replace(host, routes=tuple(routes)))
    return replace(table, virtual_hosts=tuple(hosts))


def _leads_to(route: Route, gone: AbstractSet[str], where: str, report: Report) -> bool:
    if not isinstance(route.action, RouteAction):
        return False
    match route.action.cluster:
        case WeightedClusters(clusters=choices):
            named = {choice.name for choice in choices} & gone
        case ClusterHeader():
            named = set()
        case str() as name:
            named = {name} & gone
    for name in sorted(named):
        report(Downgrade(where, f"no route to {name} for gRPC clients"))
    return bool(named)


def _grpc_route(route: Route, where: str, report: Report) -> Route:
    match route.match.path:
        case PathSeparatedPrefix(prefix):
            report(Downgrade(where, f"prefix {prefix!r} is a regex for gRPC clients"))
            return replace(route, match=_by_regex(route.match, prefix))
        case _:
            return route


def _by_regex(match: RouteMatch, prefix: str) -> RouteMatch:
    flags = "" if match.case_sensitive else "(?i)"  # case_sensitive does not reach a regex
    pattern = f"{flags}{re.escape(prefix)}(/.*)?"
    return replace(match, path=PathRegex(pattern), case_sensitive=True)
