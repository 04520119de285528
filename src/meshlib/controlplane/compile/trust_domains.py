"""Principals of a policy under all the names that the mesh's own trust domain has."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LOCAL = "cluster.local"
"""In a policy this stands for the mesh's own trust domain, whatever that is called."""


@dataclass(frozen=True, slots=True)
class TrustDomains:
    """``names``: the mesh's own trust domain, then its aliases."""

    names: tuple[str, ...] = (LOCAL,)

    def expanded(self, principals: Iterable[str]) -> tuple[str, ...]:
        """Each principal of the own trust domain under each of its names, as in Istio."""
        found: dict[str, None] = {}
        for principal in principals:
            found.update(dict.fromkeys(self._each(principal)))
        return tuple(found)

    def _each(self, principal: str) -> Iterator[str]:
        domain, *rest = principal.split("/")
        is_whole = len(rest) == 4 and rest[0] == "ns" and rest[2] == "sa"
        if not is_whole or domain == "*" or not self._is_own(domain):
            yield principal
            return
        for name in self.names:
            yield principal if _matches(domain, name) else "/".join((name, *rest))

    def _is_own(self, domain: str) -> bool:
        return domain == LOCAL or any(_matches(domain, name) for name in self.names)


def _matches(pattern: str, name: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*") else name == pattern
