"""Istio's names: of hosts, and of the resources made for them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

SERVICE_DOMAIN = "svc.cluster.local"
PASSTHROUGH = "PassthroughCluster"
BLACK_HOLE = "BlackHoleCluster"


def full_host(host: str, namespace: str) -> str:
    """A name without dots means a service of the manifest's own namespace."""
    host = host.lower()
    return host if "." in host or host.startswith("*") else f"{host}.{namespace}.{SERVICE_DOMAIN}"


def host_matches(pattern: str, host: str) -> bool:
    """``pattern`` may be a wildcard, and so may ``host`` (that of a ServiceEntry)."""
    return pattern == host or (pattern.startswith("*") and host.endswith(pattern[1:]))


class HostIndex(Generic[T]):
    """Finds what was said of a host, exactly or by wildcard."""

    def __init__(self, said: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, list[T]] = {}
        self._wildcards: dict[str, list[T]] = {}
        for pattern, item in said:
            known = self._wildcards if pattern.startswith("*") else self._exact
            known.setdefault(pattern, []).append(item)
        self._longest_first = sorted(self._wildcards, key=len, reverse=True)

    def best(self, host: str) -> tuple[T, ...]:
        """Everything under the most specific pattern that fits, in order."""
        if host in self._exact:
            return tuple(self._exact[host])
        fitting = (p for p in self._longest_first if host_matches(p, host))
        return tuple(self._wildcards.get(next(fitting, ""), ()))

    def all(self, host: str) -> Iterator[T]:
        """Everything under any pattern that fits."""
        yield from self._exact.get(host, ())
        for pattern in self._longest_first:
            if host_matches(pattern, host):
                yield from self._wildcards[pattern]

    def below(self, pattern: str) -> Iterator[T]:
        """Everything under the hosts that the pattern, exact or wildcard, fits."""
        if not pattern.startswith("*"):
            yield from self._exact.get(pattern, ())
            return
        for known in (self._exact, self._wildcards):
            for host, items in known.items():
                if host_matches(pattern, host):
                    yield from items


def host_forms(host: str, namespace: str) -> Iterator[str]:
    """Every way to say the host from within the namespace, the shortest first."""
    parts = host.split(".")
    if len(parts) == 5 and ".".join(parts[2:]) == SERVICE_DOMAIN:
        if parts[1] == namespace:
            yield parts[0]
        yield ".".join(parts[:2])
        yield ".".join(parts[:3])
    yield host


def cluster_name(host: str, port: int, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{host}"


def is_exported(export_to: Sequence[str], home: str, viewer: str) -> bool:
    """``exportTo``: ``*`` everyone, ``.`` its own namespace, ``~`` nobody, or namespaces."""
    if not export_to:
        return True
    return any(to in {"*", viewer} or (to == "." and home == viewer) for to in export_to)
