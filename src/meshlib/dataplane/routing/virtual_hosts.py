"""Which virtual host answers for an authority."""

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
MEMO_SIZE = 1024


class VirtualHosts(Generic[T]):
    """Exact, then the longest ``*.suffix``, then the longest ``prefix.*``, then ``*``.

    Case does not count (route_components.proto, ``domains``).
    """

    def __init__(self, hosts: Sequence[tuple[Sequence[str], T]], *, ignore_port: bool) -> None:
        self._ignore_port = ignore_port
        self._exact: dict[str, T] = {}
        suffixes: list[tuple[str, T]] = []
        prefixes: list[tuple[str, T]] = []
        self._any: T | None = None
        for domains, host in hosts:
            for domain in map(str.lower, domains):
                if domain == "*":
                    self._any = host
                elif domain.startswith("*"):
                    suffixes.append((domain[1:], host))
                elif domain.endswith("*"):
                    prefixes.append((domain[:-1], host))
                else:
                    self._exact[domain] = host
        self._suffixes = sorted(suffixes, key=lambda item: -len(item[0]))
        self._prefixes = sorted(prefixes, key=lambda item: -len(item[0]))
        self._memo: dict[str, T | None] = {}

    def find(self, authority: str) -> T | None:
        try:
            return self._memo[authority]
        except KeyError:
            if len(self._memo) >= MEMO_SIZE:
                self._memo.clear()
            found = self._memo[authority] = self._search(authority.lower())
            return found

    def _search(self, authority: str) -> T | None:
        host = without_port(authority) if self._ignore_port else authority
        if host in self._exact:
            return self._exact[host]
        for suffix, found in self._suffixes:
            # A wildcard stands for at least one character.
            if host.endswith(suffix) and len(host) > len(suffix):
                return found
        for prefix, found in self._prefixes:
            if host.startswith(prefix) and len(host) > len(prefix):
                return found
        return self._any


def without_port(authority: str) -> str:
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdigit() else authority
