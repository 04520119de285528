"""Istio's names: of hosts, and of the resources made for them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

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


def most_specific(host: str, patterns: Iterable[tuple[str, T]]) -> T | None:
    """The exact one, else the longest wildcard; the first of equals."""
    fitting = [(pattern, item) for pattern, item in patterns if host_matches(pattern, host)]
    if not fitting:
        return None
    return max(fitting, key=lambda pair: (not pair[0].startswith("*"), len(pair[0])))[1]


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
