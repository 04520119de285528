"""What a member of the mesh obeys as a server: the listener called "inbound"."""

from collections.abc import Iterator
from dataclasses import replace

from ... import model
from ..manifests.service import Service
from ..manifests.service_entry import ServiceEntry
from ..manifests.virtual_service import MESH, HTTPRoute
from ..world import MeshSettings
from .filters import cors
from .matches import ANY_PATH, route_match
from .services import MeshService
from .view import View

INBOUND = "inbound"
SERVED = model.Route(match=ANY_PATH, action=model.NonForwardingAction(), name="default")


def inbound_listener(view: View) -> model.Listener | None:
    """CORS of the VirtualServices of its own hosts; ``None`` where there is none.

    A sidecar would answer preflights on the caller's side, but a browser has no sidecar.
    """
    routes = tuple(_routes(view))
    if not routes:
        return None
    return bare_inbound(view.mesh, routes, (model.CORS, model.ROUTER))


def bare_inbound(
    mesh: MeshSettings,
    routes: tuple[model.Route, ...] = (),
    filters: tuple[model.HttpFilter, ...] = (model.ROUTER,),
) -> model.Listener:
    return inbound_to(INBOUND, mesh, (*routes, SERVED), filters)


def told(listener: model.Listener, **facts: model.Value) -> model.Listener:
    """With these facts in the metadata for meshlib's own servers."""
    known = dict(listener.metadata.filter_metadata)
    fields = dict(known.get(model.SOURCE_FILTER, model.Struct()).fields) | facts
    known[model.SOURCE_FILTER] = model.Struct(tuple((key, fields[key]) for key in sorted(fields)))
    metadata = model.Metadata(tuple((name, known[name]) for name in sorted(known)))
    return replace(listener, metadata=metadata)


def inbound_to(
    name: str,
    mesh: MeshSettings,
    routes: tuple[model.Route, ...],
    filters: tuple[model.HttpFilter, ...] = (model.ROUTER,),
    address: model.Address | None = None,
) -> model.Listener:
    """A listener of a server; its one table, ``inbound``, comes with it."""
    host = model.VirtualHost(name=INBOUND, domains=("*",), routes=routes)
    http = model.HttpConnectionManager(
        routes=model.RouteConfiguration(name=INBOUND, virtual_hosts=(host,)),
        http_filters=filters,
        stat_prefix=INBOUND,
        normalize_path=mesh.normalize_path,
        merge_slashes=mesh.merge_slashes,
        path_with_escaped_slashes_action=mesh.path_with_escaped_slashes_action,
    )
    return model.Listener(name=name, http=http, address=address)


def is_inbound(listener: model.Listener) -> bool:
    routes = listener.http.routes
    return isinstance(routes, model.RouteConfiguration) and routes.name == INBOUND


def _routes(view: View) -> Iterator[model.Route]:
    """Rules before the first with CORS are kept: they may take a request away from it."""
    for service in view.services.values():
        manifest = view.virtual_service_for(service.host) if is_mine(service, view) else None
        rules = () if manifest is None else tuple(view.http_rules(manifest))
        if not any(rule.route.cors_policy for rule in rules):
            continue
        for rule in rules:
            for match in _matches(rule.route):
                yield model.Route(
                    match=match,
                    action=model.NonForwardingAction(),
                    name=rule.route.name,
                    metadata=model.sourced(rule.place),
                    overrides=_overrides(rule.route),
                )


def _matches(route: HTTPRoute) -> Iterator[model.RouteMatch]:
    """Who calls is not known here: what asks for certain callers is left out."""
    if not route.match:
        yield ANY_PATH
    for match in route.match:
        if match.source_labels or match.source_namespace:
            continue
        if not match.gateways or MESH in match.gateways:
            yield route_match(match)


def _overrides(route: HTTPRoute) -> model.Overrides:
    if route.cors_policy is None:
        return ()
    return (model.FilterOverride(name=model.CORS.name, config=cors(route.cors_policy)),)


def is_mine(service: MeshService, view: View) -> bool:
    """Does the service select this member of the mesh?"""
    if service.namespace != view.scope.namespace:
        return False
    spec = service.manifest.spec
    selector: dict[str, str] = {}
    if isinstance(spec, Service):
        selector = spec.selector
    elif isinstance(spec, ServiceEntry) and spec.workload_selector is not None:
        selector = spec.workload_selector.labels
    return bool(selector) and view.scope.carries(selector)
