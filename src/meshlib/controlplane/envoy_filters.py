"""EnvoyFilters: patches read by the codec of xDS, and put into what was compiled.

This is not part of ``compile``, because a patch is Envoy's proto-JSON, and protobuf stays at the
border. Patches that mean nothing here are left out; the findings name them.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..model import (
    CORS,
    FAULT,
    HttpFilter,
    Listener,
    NonForwardingAction,
    Overrides,
    RateLimit,
    RedirectAction,
    Route,
    RouteAction,
    RouteConfiguration,
    Snapshot,
    VirtualHost,
)
from ..model import Router as RouterConfig
from ..model.authn import ExtAuthz, JwtAuthn
from ..model.rbac import Rbac, RbacRules
from ..model.snapshot import asked_by
from ..xds.codec import decode
from ..xds.protos import from_json
from ..xds.types import LISTENER, ROUTE
from .compile.filters import filters_for
from .compile.guarding import Guard
from .compile.inbound import INBOUND, bare_inbound, is_inbound
from .compile.view import View
from .manifests.envoy_filter import EnvoyConfigObjectPatch, EnvoyFilter
from .manifests.manifest import Manifest
from .scope import Scope
from .world import World

HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
GUARDS = (Rbac, JwtAuthn, ExtAuthz)


@dataclass(frozen=True, slots=True)
class Merge:
    """What a patch adds to a virtual host or to routes."""

    overrides: Overrides
    rate_limits: tuple[RateLimit, ...]


def patched(snapshot: Snapshot, world: World, scope: Scope) -> Snapshot:
    """The snapshot with every patch that the scope's workload is meant by, in Istio's order."""
    patches = [patch for manifest in _meant(world, scope) for patch in manifest.spec.config_patches]
    if not patches:
        return snapshot
    listeners = dict(snapshot.listeners)
    inbound = [patch for patch in patches if patch.is_for_inbound and _is_acted_on(patch)]
    if inbound and INBOUND not in listeners:
        guard = Guard(View(world, scope))
        listeners[INBOUND] = guard.at_all(bare_inbound(world.mesh_config))
    tables = {name: _merged(table, patches) for name, table in snapshot.routes.items()}
    for name, listener in listeners.items():
        made = _inserted(_with_own_table(listener, inbound), tables, patches)
        listeners[name] = _asking(made, snapshot.clusters)
    return replace(snapshot, listeners=listeners, routes=tables)


def read_filter(patch: EnvoyConfigObjectPatch) -> tuple[HttpFilter, tuple[str, ...]]:
    """The filter that a patch inserts, and the paths in it that have no effect.

    Raises :class:`ConfigError` for what is not valid.
    """
    manager = {
        "@type": f"type.googleapis.com/{HCM}",
        "rds": {"route_config_name": "-", "config_source": {"ads": {}}},
        "http_filters": [dict(patch.patch.value), ROUTER],
    }
    listener, ignored = _decoded(
        {"@type": LISTENER, "name": "patch", "api_listener": {"api_listener": manager}}
    )
    return listener.http.http_filters[0], ignored


def read_merge(patch: EnvoyConfigObjectPatch) -> tuple[Merge, tuple[str, ...]]:
    """What a patch of a virtual host or route says, and the paths in it that have no effect."""
    value = dict(patch.patch.value)
    route: dict[str, Any] = {"match": {"prefix": ""}, "route": {"cluster": "-"}}
    host: dict[str, Any] = {"name": "patch", "domains": ["*"], "routes": [route]}
    if patch.apply_to == "VIRTUAL_HOST":
        host |= value
    else:
        action = value.pop("route", {})
        route["route"] |= action
        route |= value
    table, ignored = _decoded({"@type": ROUTE, "name": "patch", "virtual_hosts": [host]})
    made: VirtualHost = table.virtual_hosts[0]
    if patch.apply_to == "VIRTUAL_HOST":
        return Merge(made.overrides, made.rate_limits), ignored
    inner = made.routes[0]
    assert isinstance(inner.action, RouteAction)
    return Merge(inner.overrides, inner.action.rate_limits), ignored


def _decoded(resource: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    url = f"type.googleapis.com/{resource['@type'].rpartition('/')[2]}"
    message = from_json({**resource, "@type": url}, where="value")
    made = decode(message.type_url, message.value)
    return made.resource, made.ignored


def _meant(world: World, scope: Scope) -> Iterator[Manifest[EnvoyFilter]]:
    """Those of the root namespace first, then those of the workload's own."""
    root = world.mesh_config.root_namespace
    chosen = [
        manifest
        for manifest in world.envoy_filters
        if manifest.namespace in {root, scope.namespace}
        and not manifest.spec.target_refs
        and scope.carries(manifest.spec.selected_labels)
    ]
    yield from sorted(chosen, key=lambda m: (m.namespace != root, m.spec.priority, m.name))


def _is_acted_on(patch: EnvoyConfigObjectPatch) -> bool:
    if patch.match.unjudged:
        return False
    if patch.inserts_filter:
        return patch.is_known_filter
    return patch.overrides_filters and not patch.unknown_merges


def _inserted(
    listener: Listener,
    tables: Mapping[str, RouteConfiguration],
    patches: list[EnvoyConfigObjectPatch],
) -> Listener:
    filters = list(listener.http.http_filters)
    for needed in _needed(listener, tables):
        if needed not in filters:
            filters.insert(0, needed)
    for patch in patches:
        if patch.inserts_filter and _is_acted_on(patch) and _fits_listener(patch, listener):
            _insert(filters, read_filter(patch)[0], patch)
    return replace(listener, http=replace(listener.http, http_filters=tuple(filters)))


def _asking(listener: Listener, clusters: Container[str]) -> Listener:
    """What cannot be asked is left out, but where it lets callers in: nobody is let in then."""
    filters = []
    for one in listener.http.http_filters:
        if all(name in clusters for name in asked_by(one.config)):
            filters.append(one)
        elif isinstance(one.config, ExtAuthz):
            filters.append(replace(one, config=Rbac(rules=RbacRules())))
    return replace(listener, http=replace(listener.http, http_filters=tuple(filters)))


def _needed(listener: Listener, tables: Mapping[str, RouteConfiguration]) -> Iterator[HttpFilter]:
    """Faults and CORS stand in every sidecar; here they do once somebody speaks to them."""
    routes = listener.http.routes
    table = (
        routes if isinstance(routes, RouteConfiguration) else tables.get(routes.route_config_name)
    )
    for host in table.virtual_hosts if table else ():
        yield from (one for one in filters_for(host) if one in (CORS, FAULT))


def _insert(filters: list[HttpFilter], made: HttpFilter, patch: EnvoyConfigObjectPatch) -> None:
    """Never behind the router; where the neighbour is not there, right before it.

    It takes the place of one with its name, but for one that keeps somebody out.
    """
    names = [one.name for one in filters]
    if made.name in names:
        at = names.index(made.name)
        if not isinstance(filters[at].config, GUARDS):
            filters[at] = made
            return
        made = replace(made, name=f"{made.name}.{len(names)}")
    end = next(i for i, one in enumerate(filters) if isinstance(one.config, RouterConfig))
    neighbour = patch.match.listener.filter_chain.filter.sub_filter.name
    operation = patch.patch.operation
    if operation == "INSERT_FIRST" or (operation == "INSERT_BEFORE" and not neighbour):
        at = 0
    elif neighbour in names:
        at = names.index(neighbour) + (operation == "INSERT_AFTER")
    else:
        at = end
    filters.insert(min(at, end), made)


def _fits_listener(patch: EnvoyConfigObjectPatch, listener: Listener) -> bool:
    wanted = patch.match.listener
    if is_inbound(listener):
        return patch.is_for_inbound
    if not patch.is_for_outbound:
        return False
    port = str(listener.address.port) if listener.address else listener.name.rpartition(":")[2]
    said = str(wanted.port_number or "") or wanted.name.rpartition("_")[2]
    return said in {"", port}


def _with_own_table(listener: Listener, patches: list[EnvoyConfigObjectPatch]) -> Listener:
    routes = listener.http.routes
    if not isinstance(routes, RouteConfiguration):
        return listener
    return replace(listener, http=replace(listener.http, routes=_merged(routes, patches)))


def _merged(table: RouteConfiguration, patches: list[EnvoyConfigObjectPatch]) -> RouteConfiguration:
    for patch in patches:
        if not patch.overrides_filters or not _is_acted_on(patch):
            continue
        merge, _ = read_merge(patch)
        hosts = tuple(
            _merged_host(host, patch, merge) if _fits_host(patch, host, table.name) else host
            for host in table.virtual_hosts
        )
        table = replace(table, virtual_hosts=hosts)
    return table


def _fits_host(patch: EnvoyConfigObjectPatch, host: VirtualHost, table: str) -> bool:
    wanted = patch.match.route_configuration
    if table == INBOUND:  # one host for all ports: "inbound|http|8080" means it too
        return patch.is_for_inbound and wanted.vhost.name.partition("|")[0] in {"", INBOUND}
    if not patch.is_for_outbound:
        return False
    port = host.name.rpartition(":")[2] if ":" in host.name else table
    if (str(wanted.port_number or "") or wanted.name) not in {"", port}:
        return False
    domain = wanted.vhost.domain_name
    return wanted.vhost.name in {"", host.name} and (not domain or domain in host.domains)


def _merged_host(host: VirtualHost, patch: EnvoyConfigObjectPatch, merge: Merge) -> VirtualHost:
    if patch.apply_to == "VIRTUAL_HOST":
        return replace(
            host,
            overrides=_joined(host.overrides, merge.overrides),
            rate_limits=(*host.rate_limits, *merge.rate_limits),
        )
    routes = tuple(
        _merged_route(route, merge) if _fits_route(patch, route) else route for route in host.routes
    )
    return replace(host, routes=routes)


def _merged_route(route: Route, merge: Merge) -> Route:
    action = route.action
    if isinstance(action, RouteAction):
        action = replace(action, rate_limits=(*action.rate_limits, *merge.rate_limits))
    return replace(route, action=action, overrides=_joined(route.overrides, merge.overrides))


def _fits_route(patch: EnvoyConfigObjectPatch, route: Route) -> bool:
    wanted = patch.match.route_configuration.vhost.route
    if wanted.name not in {"", route.name}:
        return False
    match wanted.action:
        case "ROUTE":
            return isinstance(route.action, RouteAction | NonForwardingAction)
        case "REDIRECT":
            return isinstance(route.action, RedirectAction)
        case "DIRECT_RESPONSE":
            return not isinstance(route.action, RouteAction | NonForwardingAction | RedirectAction)
        case _:
            return True


def _joined(one: Overrides, other: Overrides) -> Overrides:
    """By name; the other has the last word."""
    merged = {override.name: override for override in (*one, *other)}
    return tuple(merged[name] for name in sorted(merged))
