"""Redirects: where a route sends the caller instead of answering."""

from collections.abc import Callable

from ...model import RedirectAction, RouteMatch
from ..message import Request
from .matchers import path_of
from .regex_rewrite import Finditer, replacing
from .rewrite import prefix_rewrite
from .virtual_hosts import without_port

STANDARD_PORTS = {"http": ":80", "https": ":443"}

Redirect = Callable[[Request], str]
"""From a request to the URL of the ``location`` header."""


def compile_redirect(action: RedirectAction) -> Redirect:
    """route_components.proto, RedirectAction; of a request whose path is rewritten already."""

    def redirect(request: Request) -> str:
        own = "https" if action.https_redirect else request.scheme
        scheme = action.scheme_redirect or own
        path = _path(action, request.path)
        slash = "" if path.startswith("/") else "/"
        return f"{scheme}://{_authority(action, request, scheme)}{slash}{path}"

    return redirect


def path_rewrite(
    action: RedirectAction, match: RouteMatch, finditer: Finditer
) -> Callable[[str], str] | None:
    """What a redirect does to the path that the request itself has."""
    if action.prefix_rewrite:
        return prefix_rewrite(match, action.prefix_rewrite)
    if action.regex_rewrite is None:
        return None
    replaced = replacing(action.regex_rewrite, finditer)

    def rewrite(path: str) -> str:
        plain = path_of(path)
        return (replaced(plain) or plain) + path[len(plain) :]

    return rewrite


def to_https(request: Request) -> str:
    """Where a virtual host that requires TLS sends its callers; a port stays as it is."""
    return f"https://{request.authority or request.target}{request.path}"


def _authority(action: RedirectAction, request: Request, scheme: str) -> str:
    host = action.host_redirect or request.authority or request.target
    if action.port_redirect:
        return f"{without_port(host)}:{action.port_redirect}"
    if scheme == request.scheme or action.host_redirect:
        return host
    # The standard port of the old scheme means the standard port of the new one.
    return host.removesuffix(STANDARD_PORTS.get(request.scheme, ""))


def _path(action: RedirectAction, path: str) -> str:
    fixed = action.path_redirect
    if "?" in fixed:
        return fixed
    plain, mark, query = path.partition("?")
    plain = fixed or plain
    return plain if action.strip_query else plain + mark + query
