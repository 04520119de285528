"""Stock gRPC clients: what they refuse, and ignore."""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from ...model import Eds, HttpConnectionManager, OriginalDst, RouteConfiguration, Snapshot, Static
from ..compile.inbound import INBOUND
from ..node import ClientKind
from .downgrade import Report, report_ignored
from .grpc_clusters import grpc_cluster
from .grpc_filters import grpc_filters
from .grpc_routes import grpc_table
from .grpc_security import grpc_doorway, grpc_sockets


def for_grpc(snapshot: Snapshot, kind: ClientKind, report: Report) -> Snapshot:
    # A gRPC client calls hosts that are not of the mesh without xDS.
    gone = frozenset(
        name for name, one in snapshot.clusters.items() if isinstance(one.discovery, OriginalDst)
    )
    endpoints = dict(snapshot.endpoints)
    clusters = {}
    for name, configured in snapshot.clusters.items():
        if name in gone:
            continue
        cluster = grpc_cluster(configured, gone, kind, report)
        cluster = grpc_sockets(cluster, snapshot.endpoints, report)
        if isinstance(cluster.discovery, Static):  # what stands in it comes by EDS instead
            endpoints[name] = replace(cluster.discovery.load_assignment, cluster_name=name)
            cluster = replace(cluster, discovery=Eds())
        clusters[name] = cluster
    listeners = {
        name: replace(
            grpc_doorway(listener, report),
            http=_http(listener.http, name, gone, report, is_server=listener.address is not None),
        )
        for name, listener in snapshot.listeners.items()
        if name != INBOUND
    }
    # Tables that no listener names (those of Envoy's ports) are out of a gRPC client's reach.
    named = {listener.route_config_name for listener in listeners.values()}
    routes = {
        name: grpc_table(table, gone, report)
        for name, table in snapshot.routes.items()
        if name in named
    }
    return replace(
        snapshot, clusters=clusters, endpoints=endpoints, routes=routes, listeners=listeners
    )


def _http(
    http: HttpConnectionManager,
    listener: str,
    gone: AbstractSet[str],
    report: Report,
    *,
    is_server: bool,
) -> HttpConnectionManager:
    where = f"listeners/{listener}"
    filters = grpc_filters(http.http_filters, where, report, is_server=is_server)
    said = ("access_log", bool(http.access_log)), ("tracing", http.tracing is not None)
    report_ignored(where, said, "gRPC", report)
    routes = http.routes
    if isinstance(routes, RouteConfiguration):
        routes = grpc_table(routes, gone, report)
    return replace(http, routes=routes, http_filters=filters, access_log=(), tracing=None)
