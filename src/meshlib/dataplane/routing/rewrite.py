"""What a route changes of a request on its way out."""

from ...model import HeaderMutations, HeaderValueOption, PathPrefix, RouteAction, RouteMatch
from ..message import Headers, Request

PROTECTED = ("host", "te")
"""Never touched by header mutations, as Envoy refuses ``:``-headers and ``host``."""


class Rewrite:
    """Path, authority and request headers, in Envoy's order: weight, route, host, table."""

    __slots__ = ("_add", "_authority", "_match", "_prefix", "_remove")

    def __init__(
        self, match: RouteMatch, action: RouteAction, levels: tuple[HeaderMutations, ...]
    ) -> None:
        self._match = match
        self._prefix = action.prefix_rewrite
        self._authority = action.host_rewrite_literal
        self._remove = frozenset(
            name.lower() for level in levels for name in level.request_headers_to_remove
        )
        self._add = tuple(option for level in levels for option in level.request_headers_to_add)

    @property
    def is_needed(self) -> bool:
        return bool(self._prefix or self._authority or self._remove or self._add)

    def __call__(self, request: Request) -> Request:
        return request.altered(
            path=self._path(request.path),
            authority=self._authority or request.authority,
            headers=self._headers(request.headers),
        )

    def _path(self, path: str) -> str:
        if not self._prefix:
            return path
        matched = self._match.path
        if isinstance(matched, PathPrefix):
            return self._prefix + path[len(matched.value) :]
        return _replace_matched(matched, path, self._prefix)

    def _headers(self, headers: Headers) -> Headers:
        if not self._remove and not self._add:
            return headers
        kept = [(name, value) for name, value in headers if name not in self._remove]
        for option in self._add:
            kept = add_header(kept, option)
        return tuple(kept)


def _replace_matched(matched: object, path: str, replacement: str) -> str:
    """Replace what matched: the separated prefix, or the whole path but its query."""
    value = getattr(matched, "value", None)
    bare, mark, query = path.partition("?")
    if isinstance(value, str) and bare.startswith(value):
        return replacement + bare[len(value) :] + mark + query
    return replacement + mark + query


def add_header(headers: list[tuple[str, str]], option: HeaderValueOption) -> list[tuple[str, str]]:
    """Apply one option as its ``append_action`` says (base.proto, HeaderAppendAction)."""
    name = option.name.lower()
    if name in PROTECTED or name.startswith(":") or not (option.value or option.keep_empty_value):
        return headers
    present = any(key == name for key, _ in headers)
    match option.append_action:
        case "add_if_absent" if present:
            return headers
        case "overwrite_if_exists" if not present:
            return headers
        case "overwrite_if_exists" | "overwrite_if_exists_or_add":
            headers = [pair for pair in headers if pair[0] != name]
        case _:
            pass
    return [*headers, (name, option.value)]
