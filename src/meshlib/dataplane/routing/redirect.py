"""Redirects: where a route sends the caller instead of answering."""

from ...model import RedirectAction, RouteMatch
from ..message import Request
from .rewrite import matched_length
from .virtual_hosts import without_port

STANDARD_PORTS = {"http": ":80", "https": ":443"}


def redirect(action: RedirectAction, match: RouteMatch, request: Request) -> str:
    """The URL of the ``location`` header (route_components.proto, RedirectAction)."""
    scheme = "https" if action.https_redirect else action.scheme_redirect or request.scheme
    return f"{scheme}://{_authority(action, request, scheme)}{_path(action, match, request)}"


def _authority(action: RedirectAction, request: Request, scheme: str) -> str:
    host = action.host_redirect or request.authority or request.target
    if action.port_redirect:
        return f"{without_port(host)}:{action.port_redirect}"
    if scheme == request.scheme or action.host_redirect:
        return host
    # The standard port of the old scheme means the standard port of the new one.
    return host.removesuffix(STANDARD_PORTS.get(request.scheme, ""))


def _path(action: RedirectAction, match: RouteMatch, request: Request) -> str:
    path, mark, query = request.path.partition("?")
    if action.path_redirect:
        new, own_mark, own_query = action.path_redirect.partition("?")
        if own_mark:
            return f"{new}?{own_query}"
        path = new
    elif action.prefix_rewrite:
        path = action.prefix_rewrite + path[matched_length(match, path) :]
    return path if action.strip_query else path + mark + query
