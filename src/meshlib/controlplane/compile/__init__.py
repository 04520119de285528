"""World → Snapshot: what one scope's member of the mesh runs on."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator

from ... import model
from ..scope import Scope
from ..world import World
from .clusters import black_hole, clusters_of, passthrough
from .filters import filters_for
from .names import BLACK_HOLE, cluster_name, host_forms
from .servers import server_listeners
from .services import MeshPort, MeshService
from .sidecar import inbound_of, outbound_listeners
from .tables import port_table, service_table, virtual_host
from .view import View

__all__ = ["snapshot_of", "version_of"]


def snapshot_of(world: World, scope: Scope) -> model.Snapshot:
    """Everything that the scope sees, complete in itself.

    A route to a host or subset that does not exist answers 503, as in Istio: the
    findings say so, and no reference dangles.
    """
    view = View(world, scope)
    listeners: dict[str, model.Listener] = {}
    tables: list[model.RouteConfiguration] = []
    by_port: dict[int, list[model.VirtualHost]] = defaultdict(list)
    for service in view.services.values():
        for port in service.ports:
            host = virtual_host(service, port, view)
            by_port[port.number].append(host)
            tables.append(service_table(service, host, port.number))
            http = _http(service, port, host, view)
            for name in host_forms(service.host, scope.namespace):
                listener = model.Listener(
                    name=f"{name}:{port.number}",
                    http=http,
                    metadata=model.sourced(service.manifest.place),
                )
                listeners.setdefault(listener.name, listener)
    listeners.update((one.name, one) for one in server_listeners(view))
    registry_only = world.mesh_config.outbound_traffic_policy == "REGISTRY_ONLY"
    tables += (port_table(n, by_port[n], registry_only=registry_only) for n in sorted(by_port))
    clusters, endpoints = _upstreams(view, tables)
    for listener, cluster in _sidecar(view, tables):
        listeners[listener.name] = listener
        clusters += cluster
    return model.gather(
        listeners=listeners.values(), routes=tables, clusters=clusters, endpoints=endpoints
    )


def _sidecar(
    view: View, tables: list[model.RouteConfiguration]
) -> Iterator[tuple[model.Listener, tuple[model.Cluster, ...]]]:
    sidecar = view.scope.sidecar
    if sidecar is None:
        return
    by_name = {table.name: table for table in tables}
    for listener in outbound_listeners(view, sidecar, by_name):
        yield listener, ()
    for listener, cluster in inbound_of(view, sidecar):
        yield listener, (cluster,)


def _http(
    service: MeshService, port: MeshPort, host: model.VirtualHost, view: View
) -> model.HttpConnectionManager:
    table = cluster_name(service.host, port.number)
    return model.HttpConnectionManager(
        routes=model.Rds(table),
        http_filters=filters_for(host),
        stat_prefix=table,
        normalize_path=view.mesh.normalize_path,
        merge_slashes=view.mesh.merge_slashes,
    )


def _upstreams(
    view: View, tables: list[model.RouteConfiguration]
) -> tuple[list[model.Cluster], list[model.ClusterLoadAssignment]]:
    clusters = [passthrough(view.mesh)]
    endpoints: list[model.ClusterLoadAssignment] = []
    for service in view.services.values():
        if not service.is_known:
            continue
        for cluster, assignment in clusters_of(service, view):
            clusters.append(cluster)
            if assignment is not None:
                endpoints.append(assignment)
    used = {name for table in tables for _, name in model.referenced_clusters(table)}
    if BLACK_HOLE in used:
        clusters.append(black_hole())
    return clusters, endpoints


def version_of(snapshot: model.Snapshot) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for kind in (snapshot.listeners, snapshot.routes, snapshot.clusters, snapshot.endpoints):
        for name in sorted(kind):
            digest.update(repr(kind[name]).encode())
    return digest.hexdigest()
