"""What a control plane may say only where the bootstrap trusts it (gRFC A81)."""

from dataclasses import dataclass, replace
from typing import Any

from ..model import Listener, Route, RouteAction, RouteConfiguration, VirtualHost
from .responses import Decoded


@dataclass(frozen=True, slots=True)
class Distrusted:
    """A resource without what its server may not ask for, which is told as ignored."""

    name: str
    resource: Any
    ignored: tuple[str, ...]


def distrusted(decoded: Decoded) -> Decoded:
    """Without ``auto_host_rewrite``: an authority chosen afar could lead past name checks."""
    match decoded.resource:
        case RouteConfiguration() as table:
            where, found = "", _rewriting(table)
        case Listener(http=http) if isinstance(http.routes, RouteConfiguration):
            where, found = "route_config.", _rewriting(http.routes)
        case _:
            return decoded
    if not found:
        return decoded
    ignored = (*decoded.ignored, *(where + path for path in found))
    return Distrusted(decoded.name, _plain(decoded.resource), ignored)


def _rewriting(table: RouteConfiguration) -> list[str]:
    return [
        f"virtual_hosts[{host.name}].routes[{index}].route.auto_host_rewrite"
        for host in table.virtual_hosts
        for index, route in enumerate(host.routes)
        if isinstance(route.action, RouteAction) and route.action.auto_host_rewrite
    ]


def _plain(resource: Any) -> Any:
    match resource:
        case Listener():
            http = replace(resource.http, routes=_plain(resource.http.routes))
            return replace(resource, http=http)
        case RouteConfiguration():
            return replace(resource, virtual_hosts=tuple(map(_plain, resource.virtual_hosts)))
        case VirtualHost():
            return replace(resource, routes=tuple(map(_plain, resource.routes)))
        case Route(action=RouteAction() as action):
            return replace(resource, action=replace(action, auto_host_rewrite=False))
        case _:
            return resource
