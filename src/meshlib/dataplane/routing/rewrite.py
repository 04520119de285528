"""What a route changes of a request on its way out."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...model import PathPrefix, PathSeparatedPrefix, RouteAction, RouteMatch
from ..message import Headers, Request, joined
from .formatting import Facts
from .header_levels import Level
from .matchers import path_of
from .regex_rewrite import Finditer, replacing

if TYPE_CHECKING:
    from ..events import CallRecord

ORIGINAL_PATH = "x-envoy-original-path"
ORIGINAL_HOST = "x-envoy-original-host"
FORWARDED_HOST = "x-forwarded-host"


class Rewrite:
    """Headers first, which may still tell of the old host and path; then host, then path.

    A weighted cluster's own headers and host come before all of them (``weight``).
    """

    __slots__ = ("_appends_host", "_first", "_host", "_levels", "_path", "_weighted")

    def __init__(
        self,
        match: RouteMatch,
        action: RouteAction,
        levels: tuple[Level, ...],
        finditer: Finditer,
        weight: tuple[tuple[Level, ...], str] = ((), ""),
    ) -> None:
        self._levels = levels
        self._appends_host = action.append_x_forwarded_host
        self._first, self._weighted = weight
        self._host = _host_rewrite(action, finditer)
        self._path = _path_rewrite(match, action, finditer)

    @property
    def is_needed(self) -> bool:
        return bool(self._first or self._levels or self._weighted or self._host or self._path)

    def __call__(self, request: Request, record: "CallRecord | None" = None) -> Request:
        headers, authority, path = request.headers, request.authority, request.path

        def facts(now: Headers) -> Facts:
            so_far = request.altered(path=request.path, authority=authority, headers=now)
            return Facts(so_far, record)

        for level in self._first:
            headers = level(headers, facts)
        if self._weighted:
            authority = self._weighted
        for level in self._levels:
            headers = level(headers, facts)
        if self._host is not None:
            host = self._host(request, headers)
            if host:
                headers = self._moved(headers, authority or request.target)
                authority = host
        if self._path is not None:
            headers = with_header(headers, ORIGINAL_PATH, path)
            path = self._path(path)
        made = request.altered(path=path, authority=authority, headers=headers)
        if record is not None:
            record.sent = made
        return made

    def _moved(self, headers: Headers, old: str) -> Headers:
        headers = with_header(headers, ORIGINAL_HOST, old)
        if not self._appends_host:
            return headers
        before = joined(headers, FORWARDED_HOST)
        if not before:
            return with_header(headers, FORWARDED_HOST, old)
        if before.split(",")[-1] == old:
            return headers
        return with_header(headers, FORWARDED_HOST, f"{before},{old}")


HostRewrite = Callable[[Request, Headers], str | None]
"""``None`` or "": the host stays."""


def _host_rewrite(action: RouteAction, finditer: Finditer) -> HostRewrite | None:
    if action.host_rewrite_literal:
        return lambda _request, _headers: action.host_rewrite_literal
    if action.host_rewrite_header:
        name = action.host_rewrite_header.lower()
        return lambda _request, headers: next((v for k, v in headers if k == name), None)
    if action.host_rewrite_path_regex is not None:
        replaced = replacing(action.host_rewrite_path_regex, finditer)
        return lambda request, _headers: replaced(path_of(request.path))
    return None


def _path_rewrite(
    match: RouteMatch, action: RouteAction, finditer: Finditer
) -> Callable[[str], str] | None:
    if action.prefix_rewrite:
        return prefix_rewrite(match, action.prefix_rewrite)
    if action.regex_rewrite is None:
        return None
    replaced = replacing(action.regex_rewrite, finditer)

    def rewrite(path: str) -> str:
        plain = path_of(path)
        return replaced(plain) + path[len(plain) :]

    return rewrite


def prefix_rewrite(match: RouteMatch, prefix: str) -> Callable[[str], str]:
    return lambda path: prefix + path[matched_length(match, path) :]


def matched_length(match: RouteMatch, path: str) -> int:
    """How much of the path a rewrite replaces: the prefix that matched, or all but the query."""
    if isinstance(match.path, PathPrefix | PathSeparatedPrefix):
        return len(match.path.value)
    return len(path_of(path))


def with_header(headers: Headers, name: str, value: str) -> Headers:
    return (*(pair for pair in headers if pair[0] != name), (name, value))


class Respond:
    """What the levels do to the headers of a response."""

    __slots__ = ("_levels",)

    def __init__(self, levels: tuple[Level, ...]) -> None:
        self._levels = levels

    def __call__(self, request: Request, record: "CallRecord | None", headers: Headers) -> Headers:
        """``headers`` of the response; of the request, those as they were sent."""
        if record is not None and record.sent is not None:
            request = record.sent
        for level in self._levels:
            headers = level(headers, lambda now: Facts(request, record, now))
        return headers
