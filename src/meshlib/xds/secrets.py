"""Which secrets are discovered (SDS), from whom, and who is given them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from ..errors import MeshError, Problem
from ..model import Cluster, Listener
from ..model.security import DownstreamTls, SdsSecret, Secret, UpstreamTls
from .codec import InvalidResourceError
from .types import SECRET
from .watches import Entry


class Keeper(Protocol):
    """Who is given secrets. Called from the client's own thread."""

    @property
    def always(self) -> tuple[str, ...]:
        """What is wanted whether or not a resource names it."""

    def wants(self, name: str) -> bool: ...

    def check(self, secret: Secret) -> None:
        """Raises :class:`meshlib.MeshError` for one that cannot be used."""

    def hear(self, secret: Secret) -> None: ...

    def lose(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class SecretChanged:
    """``secret`` ``None``: there is none of this name any more."""

    name: str
    secret: Secret | None


def wanted(
    keeper: Keeper | None, clusters: Iterable[Cluster], listeners: Iterable[Listener]
) -> dict[str, None]:
    if keeper is None:
        return {}
    named = {name: None for cluster in clusters for name in of_cluster(cluster)}
    named |= {name: None for one in listeners if one.tls is not None for name in _named(one.tls)}
    return {**dict.fromkeys(keeper.always), **{n: None for n in named if keeper.wants(n)}}


def of_cluster(cluster: Cluster) -> Iterator[str]:
    for tls in (cluster.tls, *(match.tls for match in cluster.transport_socket_matches)):
        if tls is not None:
            yield from _named(tls)


def _named(tls: UpstreamTls | DownstreamTls) -> Iterator[str]:
    roots = None if tls.validation is None else tls.validation.roots
    for source in (tls.certificate, roots):
        if isinstance(source, SdsSecret):
            yield source.name


def checked(keeper: Keeper | None, secret: Secret) -> None:
    """Raises :class:`InvalidResourceError`."""
    try:
        if keeper is not None:
            keeper.check(secret)
    except MeshError as refused:
        problem = Problem(f"secrets/{secret.name}", str(refused))
        raise InvalidResourceError(SECRET, secret.name, problem) from refused


def shown(entry: Entry) -> Entry:
    """As it may be told to others: of a secret, its name alone."""
    if entry.type_url != SECRET or entry.resource is None:
        return entry
    return replace(entry, resource=Secret(name=entry.name))


class Deliveries:
    """What was handed on of the secrets, so that each is handed on once."""

    def __init__(self) -> None:
        self._known: dict[str, Secret] = {}

    def due(self, entries: Iterable[Entry]) -> Iterator[SecretChanged]:
        found: dict[str, Secret] = {e.name: e.resource for e in entries if e.resource is not None}
        for name, secret in found.items():
            if self._known.get(name) is not secret:
                yield SecretChanged(name, secret)
        for name in self._known:
            if name not in found:
                yield SecretChanged(name, None)
        self._known = found
