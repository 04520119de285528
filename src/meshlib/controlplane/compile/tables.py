"""Services → route tables: one per service and port, and one per port."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ... import model
from ..manifests.common import is_ip
from ..manifests.manifest import Manifest
from ..manifests.virtual_service import VirtualService
from .actions import action_of, default_action, headers_of
from .filters import overrides_of
from .matches import ANY_PATH, IN_THE_MESH, matches_of
from .names import PASSTHROUGH, cluster_name, host_forms
from .services import MeshPort, MeshService
from .view import View


def virtual_host(service: MeshService, port: MeshPort, view: View) -> model.VirtualHost:
    manifest = view.virtual_service_for(service.host)
    if manifest is None:
        routes: tuple[model.Route, ...] = (_default_route(service, port, view),)
        source = service.manifest.place
    else:
        routes = tuple(routes_of(manifest, port.number, view))
        source = manifest.place
    return model.VirtualHost(
        name=f"{service.host}:{port.number}",
        domains=tuple(_domains(service, port.number, view)),
        routes=routes,
        metadata=model.sourced(source),
    )


def service_table(
    service: MeshService, host: model.VirtualHost, port: int
) -> model.RouteConfiguration:
    """What a client without a proxy asks for: one host, under the name of its cluster."""
    return model.RouteConfiguration(name=cluster_name(service.host, port), virtual_hosts=(host,))


def port_table(
    port: int, hosts: Iterable[model.VirtualHost], *, registry_only: bool
) -> model.RouteConfiguration:
    """What a sidecar asks for: all hosts of the port, and what becomes of all others."""
    taken: set[str] = set()
    kept: list[model.VirtualHost] = []
    for host in hosts:
        domains = tuple(domain for domain in host.domains if domain not in taken)
        taken.update(domains)
        if domains:
            kept.append(_answering(host, domains))
    return model.RouteConfiguration(
        name=str(port), virtual_hosts=(*kept, _everyone_else(registry_only=registry_only))
    )


def _answering(host: model.VirtualHost, domains: tuple[str, ...]) -> model.VirtualHost:
    return host if domains == host.domains else replace(host, domains=domains)


def _everyone_else(*, registry_only: bool) -> model.VirtualHost:
    if registry_only:
        refusal = model.DirectResponseAction(status=502)
        route = model.Route(match=ANY_PATH, action=refusal, name="block_all")
        return model.VirtualHost(name="block_all", domains=("*",), routes=(route,))
    action = model.RouteAction(cluster=PASSTHROUGH, timeout=0.0)
    route = model.Route(match=ANY_PATH, action=action, name="allow_any")
    return model.VirtualHost(name="allow_any", domains=("*",), routes=(route,))


def _domains(service: MeshService, port: int, view: View) -> Iterator[str]:
    addresses = (f"[{a}]" if ":" in a and is_ip(a) else a for a in service.addresses)
    for form in (*host_forms(service.host, view.scope.namespace), *addresses):
        yield form
        yield f"{form}:{port}"


def _default_route(service: MeshService, port: MeshPort, view: View) -> model.Route:
    return model.Route(
        match=ANY_PATH,
        action=default_action(service, port, view),
        name="default",
        metadata=model.sourced(service.manifest.place),
    )


def routes_of(
    manifest: Manifest[VirtualService],
    port: int,
    view: View,
    through: frozenset[str] = IN_THE_MESH,
) -> Iterator[model.Route]:
    for rule in view.http_rules(manifest):
        found = tuple(matches_of(rule.route, view.scope, port, through))
        if not found:
            continue
        action = action_of(rule, view, port)
        for matched in found:
            yield model.Route(
                match=matched.match,
                action=action,
                name=matched.name,
                metadata=model.sourced(rule.place),
                headers=headers_of(rule.route),
                overrides=overrides_of(rule.route),
                stat_prefix=matched.stat_prefix,
            )
