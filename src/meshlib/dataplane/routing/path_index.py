"""Which routes a path fits, without asking each of thousands."""

from collections.abc import Iterator, Sequence
from heapq import merge
from operator import itemgetter

from ...model import PathExact, PathPrefix, PathSeparatedPrefix, RouteMatch
from .matchers import TextTest

Positions = dict[str, list[int]]


class PathIndex:
    """Exact paths by dict, prefixes by dict and length; only the others are tried one by one."""

    __slots__ = ("_below", "_exact", "_lengths", "_prefixes", "_rest")

    def __init__(self, routes: Sequence[tuple[RouteMatch, TextTest]]) -> None:
        self._exact: Positions = {}
        self._prefixes: Positions = {}
        self._below: Positions = {}
        self._rest: list[tuple[int, TextTest]] = []
        for position, (match, test) in enumerate(routes):
            home = self._home(match)
            if home is None:
                self._rest.append((position, test))
            else:
                found, value = home
                found.setdefault(value, []).append(position)
        self._lengths = sorted({len(value) for value in (*self._prefixes, *self._below)})

    def _home(self, match: RouteMatch) -> tuple[Positions, str] | None:
        if not match.case_sensitive:
            return None
        match match.path:
            case PathExact(value):
                return self._exact, value
            case PathPrefix(value):
                return self._prefixes, value
            case PathSeparatedPrefix(value) if not value.endswith("/"):
                return self._below, value
            case _:
                return None

    def find(self, path: str) -> Iterator[int]:
        """The positions of the routes that fit, in the order of the table."""
        found = list(self._exact.get(path, ()))
        for length in self._lengths:
            if length > len(path):
                break
            head = path[:length]
            found += self._prefixes.get(head, ())
            if length == len(path) or path[length] == "/":
                found += self._below.get(head, ())
        known = ((position, None) for position in sorted(found))
        for position, test in merge(known, self._rest, key=itemgetter(0)):
            if test is None or test(path):
                yield position
