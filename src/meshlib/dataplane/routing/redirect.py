"""Redirects: where a route sends the caller instead of answering."""

from collections.abc import Callable

from ...model import RedirectAction, RouteMatch
from ..message import Request
from .matchers import path_of
from .regex_rewrite import Finditer, python_finditer, replacing
from .rewrite import prefix_rewrite
from .virtual_hosts import without_port

STANDARD_PORTS = {"http": ":80", "https": ":443"}

Redirect = Callable[[Request], str]
"""From a request to the URL of the ``location`` header."""


def compile_redirect(
    action: RedirectAction, match: RouteMatch, finditer: Finditer = python_finditer
) -> Redirect:
    """route_components.proto, RedirectAction."""
    rewrite = _path_rewrite(action, match, finditer)

    def redirect(request: Request) -> str:
        own = "https" if action.https_redirect else request.scheme
        scheme = action.scheme_redirect or own
        path = rewrite(request.path)
        slash = "" if path.startswith("/") else "/"
        return f"{scheme}://{_authority(action, request, scheme)}{slash}{path}"

    return redirect


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


def _path_rewrite(
    action: RedirectAction, match: RouteMatch, finditer: Finditer
) -> Callable[[str], str]:
    path = _plain_rewrite(action, match, finditer)
    if not action.strip_query or "?" in action.path_redirect:
        return path
    return lambda given: path(given).partition("?")[0]


def _plain_rewrite(
    action: RedirectAction, match: RouteMatch, finditer: Finditer
) -> Callable[[str], str]:
    fixed = action.path_redirect
    if fixed:
        return lambda path: fixed if "?" in fixed else fixed + _query(path)
    if action.prefix_rewrite:
        return prefix_rewrite(match, action.prefix_rewrite)
    if action.regex_rewrite is None:
        return str
    replaced = replacing(action.regex_rewrite, finditer)

    def rewrite(path: str) -> str:
        plain = path_of(path)
        return (replaced(plain) or plain) + path[len(plain) :]

    return rewrite


def _query(path: str) -> str:
    _, mark, query = path.partition("?")
    return mark + query
