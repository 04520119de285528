"""What a route changes of a request on its way out."""

from collections.abc import Iterable, Sequence

from ...model import (
    HeaderMutations,
    HeaderValueOption,
    PathPrefix,
    PathSeparatedPrefix,
    RouteAction,
    RouteMatch,
)
from ..message import Headers, Request
from .matchers import path_of

PROTECTED = ("host", "te")
PROTECTED_PREFIXES = (":", "grpc-")
"""Never touched by header mutations: the call would not be the same call any more."""


class Rewrite:
    """Path, authority and request headers, in Envoy's order: weight, route, host, table."""

    __slots__ = ("_authority", "_levels", "_match", "_prefix")

    def __init__(
        self, match: RouteMatch, action: RouteAction, levels: tuple[HeaderMutations, ...]
    ) -> None:
        self._match = match
        self._prefix = action.prefix_rewrite
        self._authority = action.host_rewrite_literal
        self._levels = mutations(
            (level.request_headers_to_remove, level.request_headers_to_add) for level in levels
        )

    @property
    def is_needed(self) -> bool:
        return bool(self._prefix or self._authority or self._levels)

    def __call__(self, request: Request) -> Request:
        return request.altered(
            path=self._path(request.path),
            authority=self._authority or request.authority,
            headers=mutated(request.headers, self._levels),
        )

    def _path(self, path: str) -> str:
        if not self._prefix:
            return path
        return self._prefix + path[matched_length(self._match, path) :]


def matched_length(match: RouteMatch, path: str) -> int:
    """How much of the path a rewrite replaces: the prefix that matched, or all but the query."""
    if isinstance(match.path, PathPrefix | PathSeparatedPrefix):
        return len(match.path.value)
    return len(path_of(path))


Level = tuple[frozenset[str], tuple[HeaderValueOption, ...]]
"""What one level of configuration removes, and then adds."""


def mutations(
    levels: Iterable[tuple[Iterable[str], Iterable[HeaderValueOption]]],
) -> tuple[Level, ...]:
    """The levels that change anything, most specific first; each acts on what came of the last."""
    found = (
        (
            frozenset(name for name in map(str.lower, remove) if not _is_protected(name)),
            tuple(option for option in add if not _is_protected(option.name.lower())),
        )
        for remove, add in levels
    )
    return tuple((remove, add) for remove, add in found if remove or add)


def mutated(headers: Headers, levels: Sequence[Level]) -> Headers:
    for remove, add in levels:
        kept = [pair for pair in headers if pair[0] not in remove]
        for option in add:
            kept = add_header(kept, option)
        headers = tuple(kept)
    return headers


def _is_protected(name: str) -> bool:
    return name in PROTECTED or name.startswith(PROTECTED_PREFIXES)


def add_header(headers: list[tuple[str, str]], option: HeaderValueOption) -> list[tuple[str, str]]:
    """Apply one option as its ``append_action`` says (base.proto, HeaderAppendAction)."""
    name = option.name.lower()
    if not (option.value or option.keep_empty_value):
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
