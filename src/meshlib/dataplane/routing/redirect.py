"""Redirects: where a route sends the caller instead of answering."""

from ...model import PathExact, PathPrefix, PathSeparatedPrefix, RedirectAction, RouteMatch
from ..message import Request
from .virtual_hosts import without_port

STANDARD_PORTS = {"http": 80, "https": 443}


def redirect(action: RedirectAction, match: RouteMatch, request: Request) -> str:
    """The URL of the ``location`` header (route_components.proto, RedirectAction)."""
    scheme = "https" if action.https_redirect else action.scheme_redirect or request.scheme
    return f"{scheme}://{_authority(action, request, scheme)}{_path(action, match, request)}"


def _authority(action: RedirectAction, request: Request, scheme: str) -> str:
    authority = request.authority or request.target
    host = action.host_redirect or authority
    if action.port_redirect:
        host = without_port(host)
        if action.port_redirect != STANDARD_PORTS.get(scheme):
            return f"{host}:{action.port_redirect}"
        return host
    bare = without_port(host)
    changed = scheme != request.scheme
    if changed and host != bare and int(host[len(bare) + 1 :]) == STANDARD_PORTS[request.scheme]:
        # The standard port of the old scheme means the standard port of the new one.
        return bare
    return host


def _path(action: RedirectAction, match: RouteMatch, request: Request) -> str:
    path, mark, query = request.path.partition("?")
    if action.path_redirect:
        new, own_mark, own_query = action.path_redirect.partition("?")
        if own_mark:
            return f"{new}?{own_query}"
        path = new
    elif action.prefix_rewrite:
        path = action.prefix_rewrite + path[len(_matched(match, path)) :]
    if action.strip_query or not mark:
        return path
    return f"{path}?{query}"


def _matched(match: RouteMatch, path: str) -> str:
    match match.path:
        case PathPrefix(value) | PathSeparatedPrefix(value) | PathExact(value):
            return value
        case _:
            return path
