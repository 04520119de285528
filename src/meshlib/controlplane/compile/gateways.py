"""What an Envoy at the edge listens on: the servers of the Gateways that select it."""

from collections import defaultdict
from collections.abc import Iterator

from ... import model
from ..manifests.gateway import Gateway, Server
from ..manifests.manifest import Manifest
from ..manifests.virtual_service import VirtualService
from ..scope import Sidecar
from .guarding import Guard
from .names import full_host, host_matches, is_exported
from .sidecar import filters_of
from .tables import routes_of
from .view import View

Served = tuple[Manifest[Gateway], Server]


def gateways_of(view: View) -> tuple[Manifest[Gateway], ...]:
    """Those that select the member. Who selects nothing by name selects nobody here."""
    return tuple(
        one
        for one in view.world.gateways
        if one.spec.selector and view.scope.carries(one.spec.selector)
    )


def edge_of(
    view: View, guard: Guard, sidecar: Sidecar
) -> Iterator[tuple[model.Listener, model.RouteConfiguration]]:
    """A listener for each port of the servers of plain HTTP, and its table."""
    ports: dict[tuple[str, int], list[Served]] = defaultdict(list)
    for gateway in gateways_of(view):
        for server in gateway.spec.servers:
            if server.is_plain:
                ports[server.bind or sidecar.listen_address, server.port.number].append(
                    (gateway, server)
                )
    for (address, number), servers in sorted(ports.items(), key=lambda item: item[0]):
        hosts = tuple(_hosts(servers, number, view))
        name = f"{address}_{number}"
        table = model.RouteConfiguration(name=f"http.{name}", virtual_hosts=hosts)
        http = model.HttpConnectionManager(
            routes=model.Rds(table.name),
            http_filters=(*guard.filters, *filters_of(hosts)),
            stat_prefix=f"gateway_{name}",
            normalize_path=view.mesh.normalize_path,
            merge_slashes=view.mesh.merge_slashes,
            path_with_escaped_slashes_action=view.mesh.path_with_escaped_slashes_action,
        )
        yield model.Listener(name=name, http=http, address=model.Address(address, number)), table


def _hosts(servers: list[Served], port: int, view: View) -> Iterator[model.VirtualHost]:
    """One for each host; several VirtualServices may speak of it, in their order."""
    routes: dict[str, list[model.Route]] = defaultdict(list)
    redirected: set[str] = set()
    for manifest in view.world.virtual_services:
        exported = manifest.spec.export_to or view.mesh.default_virtual_service_export_to
        if not is_exported(exported, manifest.namespace, view.scope.namespace):
            continue
        taken: set[str] = set()
        for gateway, server in servers:
            through = _names(gateway, manifest.namespace)
            if through.isdisjoint(manifest.spec.gateways):
                continue
            found = set(_domains(manifest, gateway, server))
            if server.redirects:
                redirected |= found
            for domain in sorted(found - taken):
                routes[domain] += routes_of(manifest, port, view, through)
            taken |= found
    for domain, listed in sorted(routes.items()):
        yield model.VirtualHost(
            name=f"{domain}:{port}",
            domains=(domain,) if domain == "*" else (domain, f"{domain}:{port}"),
            routes=tuple(listed),
            require_tls="all" if domain in redirected else "none",
        )


def _names(gateway: Manifest[Gateway], namespace: str) -> frozenset[str]:
    """How manifests of the namespace may name it."""
    full = f"{gateway.namespace}/{gateway.name}"
    return frozenset({full, gateway.name} if gateway.namespace == namespace else {full})


def _domains(
    manifest: Manifest[VirtualService], gateway: Manifest[Gateway], server: Server
) -> Iterator[str]:
    """The hosts that both speak of, as narrow as the narrower says."""
    for said in server.hosts:
        namespace, _, name = said.rpartition("/")
        if namespace not in {"", "*", manifest.namespace} and not (
            namespace == "." and manifest.namespace == gateway.namespace
        ):
            continue
        pattern = full_host(name, gateway.namespace)
        for host in (full_host(one, manifest.namespace) for one in manifest.spec.hosts):
            if host_matches(pattern, host):
                yield host
            elif host_matches(host, pattern):
                yield pattern
