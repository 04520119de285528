"""Channels to endpoints: made when first needed, kept while the configuration knows them."""

import os
import threading
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import grpc

from ..dataplane import Meter, Send, UpstreamEndpoint
from ..identity.credentials import Credentials
from ..model import Address
from ..model.snapshot import referenced_clusters
from ._drive import Runtime
from ._grpc_options import connection_options
from ._grpc_sealed import NOWHERE, UNSHARED, Seals
from ._grpc_status import is_ip
from ._target import Target
from ._terms import Term, cluster_of, term_of
from ._tls_upstream import TARGET_NAME
from ._tls_upstream import Dial as SecureDial

C = TypeVar("C")
Options = Sequence[tuple[str, Any]]
Dial = Callable[[str, Options, grpc.ChannelCredentials | None], C]
"""``None``: in plain text."""

AUTHORITY = "grpc.default_authority"
RECONNECT = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 5000))
DIRECT = (("grpc.enable_http_proxy", 0),)
"""An endpoint is an address inside the mesh: no proxy of the environment leads there."""

CONNECT_TIMEOUT = 5.0
OFFERED = 8
"""Of so many endpoints of a cluster one must be connected for the channel to be ready."""


class Member(Generic[C]):
    """The channel to one endpoint. Calls hold it, so it closes when the last one lets go.

    ``refusal``: why there is no way to connect as safely as is asked for; then it leads nowhere.
    ``held``: what the channel needs to be there. ``secured``: whoever answers has proven to be
    who is wanted, and ``principal`` is the SPIFFE id, where only one was. ``is_cut``: it is
    believed no more; ``calls``: those of event loops, which have to be cut one by one.
    """

    __slots__ = (
        "__weakref__",
        "_cut",
        "address",
        "calls",
        "channel",
        "connect_timeout",
        "held",
        "is_cut",
        "natives",
        "principal",
        "refusal",
        "secured",
    )

    def __init__(
        self,
        channel: C,
        address: Address | None,
        connect_timeout: float,
        refusal: str = "",
        held: SecureDial | None = None,
        cut: "Callable[[Member[C]], None] | None" = None,
    ) -> None:
        self.refusal = refusal
        self.is_cut = False
        self.calls: WeakSet[Any] = WeakSet()
        self._cut = cut
        self.secured = held is not None
        self.principal = "" if held is None else held.principal
        self.held = held
        self.channel = channel
        self.address = address
        self.connect_timeout = connect_timeout
        self.natives: dict[object, Any] = {}
        """The channel's own multicallables, by ours."""

    def look(self, credentials: Credentials) -> None:
        """Of several who may answer, nobody knows who does."""
        if self.held is None or self._cut is None or self.is_cut:
            return
        if not credentials.revoked.isdisjoint(self.held.ids):
            self.is_cut = True
            self._cut(self)


def metered(send: Send, member: Member[Any]) -> Meter:
    """The meter of a call, at an attempt that goes over this member."""
    meter = send.request.meter
    assert meter is not None, "every call of these hooks has one"
    meter.secured, meter.server_principal = member.secured, member.principal
    return meter


class Pool(Generic[C]):
    """All channels of one mesh channel, on one event loop or for all threads."""

    def __init__(
        self,
        runtime: Runtime,
        target: Target,
        options: Options,
        dial: Dial[C],
        cut: Callable[[Member[C]], None],
    ) -> None:
        engine = self._engine = runtime.engine
        self._runtime = runtime
        self._dial = dial
        self._cut = cut
        self._target = target
        self._options = tuple(options)
        self._authority = authority_in(self._options)
        self._members: dict[object, Member[C]] = {}
        self._limited: dict[object, tuple[Member[C], Term]] = {}
        """Members whose connection is to be replaced after a while: seldom, so kept apart."""
        self._sealed: Seals[Member[C]] = Seals(runtime, self._secure)
        self._held: WeakSet[Member[C]] = WeakSet()
        """Those that calls hold yet, whether or not new ones would go over them."""
        self._swept = engine.snapshot
        self._lock = threading.Lock()
        self.shadows: set[Any] = set()
        """Tasks of mirrored calls on this event loop: nobody else keeps hold of them."""

    def member(self, send: Send) -> Member[C]:
        """The channel that an attempt goes over."""
        endpoint, authority = send.endpoint, send.request.authority
        if endpoint is not None and authority == self._authority:
            if self._engine.snapshot is not self._swept:
                self._sweep()
            if endpoint.secured_by is None:
                found = self._members.get(endpoint.key)
                if found is not None:
                    return found
        return self._of(endpoint, authority)

    def _of(self, endpoint: UpstreamEndpoint | None, authority: str) -> Member[C]:
        if endpoint is not None and endpoint.secured_by is not None:
            with self._lock:
                sealed = self._sealed.member(endpoint, authority or self._authority)
            if sealed is not None:
                return sealed
        key: object = None if endpoint is None else endpoint.key
        if authority != self._authority:
            key = (key, authority)
        found = self._members.get(key)
        if found is None and key in self._limited:
            found = self._in_term(key)
        return found if found is not None else self._add(key, endpoint, authority)

    def _in_term(self, key: object) -> Member[C] | None:
        """The limited member, unless its connection has served its term: then calls run out."""
        with self._lock:
            found = self._limited.get(key)
            if found is not None and found[1].is_over(self._engine.around.clock):
                del self._limited[key]
                return None
            return None if found is None else found[0]

    @property
    def members(self) -> list[Member[C]]:
        limited = (member for member, _ in self._limited.values())
        return [*self._members.values(), *limited, *self._sealed.members()]

    def offered(self) -> list[Member[C]]:
        """Channels to some endpoints of each cluster that the host's routes lead to."""
        engine = self._engine
        listener = engine.listener(self._target.listener or "")
        if listener is None:
            known = engine.is_foreign(self._target.listener or "")
            return [self._of(None, self._authority)] if known else []
        names = {name for _, name in referenced_clusters(listener.router.table.config)}
        clusters = [engine.clusters[name] for name in sorted(names) if name in engine.clusters]
        return [
            self._of(endpoint, self._authority)
            for cluster in clusters
            for endpoint in islice(
                (e for e in cluster.balance.endpoints.values() if e.usable), OFFERED
            )
        ]

    def _add(self, key: object, endpoint: UpstreamEndpoint | None, authority: str) -> Member[C]:
        with self._lock:
            found = self._members.get(key)
            if found is not None:
                return found
            if endpoint is None:
                made = self._members[key] = self._foreign(authority)
                return made
            cluster = cluster_of(self._engine, endpoint)
            config = None if cluster is None else cluster.balance.config
            term = term_of(config, self._engine.around.clock)
            more = connection_options(config)
            if term is None:
                made = self._members[key] = self._made(endpoint, authority, more)
                return made
            if key in self._limited:
                return self._limited[key][0]
            made = self._made(endpoint, authority, (*more, *UNSHARED))
            term.is_over(self._engine.around.clock)  # the call that it is made for counts
            self._limited[key] = (made, term)
            return made

    def _foreign(self, authority: str) -> Member[C]:
        options = self._with((*(((AUTHORITY, authority),) if authority else ()), *own()))
        return self._noted(
            Member(self._dial(self._target.native, options, None), None, CONNECT_TIMEOUT)
        )

    def _made(self, endpoint: UpstreamEndpoint, authority: str, more: Options) -> Member[C]:
        options = self._to(endpoint, authority or self._target.native, more)
        channel = self._dial(native_target(endpoint.address), options, None)
        return self._noted(Member(channel, endpoint.address, endpoint.connect_timeout))

    def _secure(
        self, endpoint: UpstreamEndpoint, authority: str, dial: SecureDial | str, more: Options
    ) -> Member[C]:
        """Over TLS, or, where there is no way that is safe enough, to nowhere at all."""
        address, timeout = endpoint.address, endpoint.connect_timeout
        asked = authority or self._target.native
        if isinstance(dial, str):
            options = self._to(endpoint, asked, more)
            return self._noted(Member(self._dial(NOWHERE, options, None), address, timeout, dial))
        ours = self._to(endpoint, dial.authority(asked), more)
        options = (*(pair for pair in ours if pair[0] != TARGET_NAME), *dial.options)
        target = dial.target(address) or native_target(address)
        channel = self._dial(target, options, dial.credentials)
        made = self._noted(Member(channel, address, timeout, held=dial, cut=self._cut))
        self._runtime.security.lines.add(made)
        return made

    def _noted(self, member: Member[C]) -> Member[C]:
        self._held.add(member)
        return member

    def _to(self, endpoint: UpstreamEndpoint, authority: str, more: Options) -> Options:
        backoff = int(endpoint.connect_timeout * 1000)
        return self._with(
            (
                (AUTHORITY, authority),
                *RECONNECT,
                ("grpc.min_reconnect_backoff_ms", backoff),
                *more,
                *DIRECT,
                *own(),
            )
        )

    def _with(self, ours: Options) -> Options:
        """The caller's options win, but for the authority, which the route may have rewritten."""
        fixed = {AUTHORITY} & {name for name, _ in ours}
        given = tuple(pair for pair in self._options if pair[0] not in fixed)
        names = {name for name, _ in given}
        return (*given, *(pair for pair in ours if pair[0] not in names))

    def _sweep(self) -> None:
        """Let go of endpoints that left the configuration; calls on them run on."""
        with self._lock:
            self._swept = self._engine.snapshot
            clusters = self._engine.clusters.values()
            known = {key for cluster in clusters for key in cluster.balance.endpoints}
            known_or_foreign = known | {None}

            def stays(key: object) -> bool:
                return (key[0] if isinstance(key, tuple) else key) in known_or_foreign

            self._members = {k: member for k, member in self._members.items() if stays(k)}
            self._limited = {k: member for k, member in self._limited.items() if stays(k)}
            self._sealed.sweep()

    def abandon(self) -> None:
        """Break off the mirrored calls."""
        for task in list(self.shadows):
            task.cancel()

    def empty(self) -> list[C]:
        """Forget all channels and hand them over, to be closed."""
        with self._lock:
            gone = list(self._held)
            self._members, self._limited = {}, {}
            self._sealed.clear()
            return [member.channel for member in gone]


def own() -> Options:
    """gRPC core shares connections between channels that are alike: not with the parent's."""
    return (("meshlib.pid", os.getpid()),)


def authority_in(options: Options) -> str:
    """The ``:authority`` that the caller asked for, or ""."""
    named = dict(options).get(AUTHORITY)
    return named if isinstance(named, str) else ""


def native_target(address: Address) -> str:
    if not is_ip(address.host):
        return f"dns:///{address}"
    return f"{'ipv6' if ':' in address.host else 'ipv4'}:{address}"
