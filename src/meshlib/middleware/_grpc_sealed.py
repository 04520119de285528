"""Channels that are secured, and made anew when what secures them changes.

Who holds an old one calls over it to the end; it closes when the last one lets go.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..dataplane import UpstreamEndpoint
from ..dataplane.upstream.transport import Transport, transport_of
from ..identity.credentials import Credentials, IdentityError
from ..model import Cluster, Endpoint
from ._drive import Runtime
from ._grpc_options import Options, connection_options
from ._target import host_of
from ._terms import Term, term_of
from ._tls_upstream import Dial

M = TypeVar("M")
Key = tuple[UpstreamEndpoint, str]
Make = Callable[[UpstreamEndpoint, str, Dial | str, Options], M]
"""The string: why there is none."""
NOWHERE = "unix:/dev/null/nowhere"
"""Not even a file can be there, so nothing ever answers."""
UNSHARED = (("grpc.use_local_subchannel_pool", 1),)
"""A new channel has a new connection, not that of a channel that is like it."""


@dataclass(slots=True)
class Seal(Generic[M]):
    """What a member was made by. ``member`` ``None``: the endpoint is called in plain text."""

    cluster: Cluster | None
    told: Endpoint
    credentials: Credentials | None
    look_at: float
    transport: Transport | None
    dial: Dial | str
    member: M | None
    term: Term | None = None


class Seals(Generic[M]):
    """Called under the pool's lock."""

    def __init__(self, runtime: Runtime, make: Make[M]) -> None:
        self._runtime = runtime
        self._make = make
        self._seals: dict[Key, Seal[M]] = {}

    def member(self, endpoint: UpstreamEndpoint, authority: str) -> M | None:
        key = endpoint, authority
        seal = self._seals.get(key)
        if seal is None or not self._is_fresh(seal, endpoint):
            seal = self._seals[key] = self._renewed(seal, key)
        term, clock = seal.term, self._runtime.clock
        if term is not None and term.is_over(clock):
            seal = self._seals[key] = self._made(key, seal)
        return seal.member

    def _is_fresh(self, seal: Seal[M], endpoint: UpstreamEndpoint) -> bool:
        return (
            seal.cluster is endpoint.secured_by
            and seal.told is endpoint.config
            and seal.credentials is self._credentials()
            and self._runtime.clock() < seal.look_at
        )

    def _credentials(self) -> Credentials | None:
        source = self._runtime.credentials
        return None if source is None else source.current()

    def _renewed(self, old: Seal[M] | None, key: Key) -> Seal[M]:
        """The same member, if it would be made in the same way."""
        endpoint, _ = key
        cluster, told, runtime = endpoint.secured_by, endpoint.config, self._runtime
        assert cluster is not None
        transport = transport_of(cluster, told)
        seal: Seal[M] = Seal(
            cluster, told, self._credentials(), runtime.clock() + 1.0, transport, "", None
        )
        if transport is None:
            return seal
        seal.dial = self._dial(transport, key)
        if old is not None and old.member is not None and old.dial == seal.dial:
            seal.member, seal.term = old.member, old.term
            return seal
        return self._made(key, seal)

    def _dial(self, transport: Transport, key: Key) -> Dial | str:
        try:
            return self._runtime.security.upstream.dial(transport, host_of(key[1]))
        except IdentityError as missing:
            return str(missing)

    def _made(self, key: Key, seal: Seal[M]) -> Seal[M]:
        endpoint, authority = key
        clock = self._runtime.clock
        more: Options = connection_options(seal.cluster)
        seal.term = term_of(seal.cluster, clock)
        if seal.term is not None:
            more = (*more, *UNSHARED)
            seal.term.is_over(clock)  # the call that it is made for counts
        seal.member = self._make(endpoint, authority, seal.dial, more)
        return seal

    def members(self) -> Iterator[M]:
        return (seal.member for seal in self._seals.values() if seal.member is not None)

    def sweep(self) -> None:
        """Let go of endpoints that left the configuration, or are secured no more."""
        if not self._seals:
            return
        clusters = self._runtime.engine.clusters.values()
        known: set[Any] = {one for c in clusters for one in c.balance.endpoints.values()}
        self._seals = {
            key: seal
            for key, seal in self._seals.items()
            if key[0] in known and key[0].secured_by is not None
        }

    def clear(self) -> None:
        self._seals = {}
