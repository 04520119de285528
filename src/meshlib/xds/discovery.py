"""The whole client without its wire: the conversations, the cache and the join, in step."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..clock import Dice
from ..errors import Problem
from ..model.security import Secret
from .ads import Ads, Event, Report, SubscriptionChanged
from .authority import Authorities, Errand, Servers
from .backoff import Reconnects
from .bootstrap import Server
from .codec import InvalidResourceError
from .names import canonical
from .resolver import Resolver, Update
from .responses import Decode, Decoded
from .secrets import Deliveries, Keeper, SecretChanged, checked
from .trust import distrusted
from .types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SECRET
from .watches import Entry, Watches

TYPES = (LISTENER, EXTENSION, ROUTE, CLUSTER, ENDPOINT, RUNTIME)

Effect = Errand | Report | SecretChanged | Update

CALLS_END = 1.0
"""Seconds between two looks whether the last call has left a cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStatus:
    """``error`` is the text of the last NACK, until a version was accepted again."""

    type_url: str
    version: str
    nonce: str
    error: str
    resources: tuple[Entry, ...]
    accepted: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """``authorities`` that ask this server; ``None`` is the default one."""

    server: Server
    connected: bool
    delta: bool
    error: str
    failures: int
    last_status: str
    authorities: tuple[str | None, ...]


class Discovery:
    """Events in, effects out: each batch of news makes one update at most.

    ``servers`` of each authority, in order of preference; ``None`` is the default authority.
    ``runtime_layers`` are asked for with the first listener. ``is_called``: see the resolver.
    ``heeded`` listeners stand before handlers: that there is none of them has to be said.
    """

    def __init__(
        self,
        decode: Decode,
        *,
        dice: Dice,
        servers: Mapping[str | None, Servers],
        runtime_layers: Iterable[str] = (),
        reconnects: Callable[[Dice], Reconnects] = Reconnects,
        is_called: Callable[[str], bool] | None = None,
        keeper: Keeper | None = None,
        heeded: Iterable[str] = (),
    ) -> None:
        self._decode = decode
        self._dice = dice
        self._reconnects = reconnects
        self.watches = Watches()
        self._authorities = Authorities(servers, self.watches, self._converse)
        self._resolver = Resolver(self.watches, runtime_layers, is_called, keeper)
        self._keeper = keeper
        self._heeded = frozenset(heeded)
        self._types = TYPES if keeper is None else (*TYPES, SECRET)
        self._deliveries = Deliveries()
        self._let_go_at: float | None = None

    def _converse(self, server: Server) -> Ads:
        return Ads(
            self.watches,
            self._decoded if server.is_trusted else self._distrusted,
            types=self._types if server.keeps_secrets else TYPES,
            reconnects=self._reconnects(self._dice),
            server_features=server.server_features,
            source=server.server_uri,
            delta=server.speaks_delta,
            heeded=self._heeded,
        )

    def _distrusted(self, type_url: str, value: bytes) -> Decoded:
        return distrusted(self._decoded(type_url, value))

    def _decoded(self, type_url: str, value: bytes) -> Decoded:
        decoded = self._decode(type_url, value)
        if type_url == EXTENSION and self._resolver.refuses(decoded.resource):
            what = "is of a type that no filter asked for (type_urls)"
            problem = Problem(f"extensions/{decoded.name}: typed_config", what)
            raise InvalidResourceError(type_url, decoded.name, problem)
        if isinstance(decoded.resource, Secret):
            checked(self._keeper, decoded.resource)
        return decoded

    def watch(self, listeners: Iterable[str], now: float) -> tuple[Effect, ...]:
        for name in listeners:
            self._resolver.watch(canonical(name))
        return self._settle((), now)

    def handle(self, server: Server, event: Event, now: float) -> tuple[Effect, ...]:
        return self._settle(self._authorities.handle(server, event, now), now)

    def tick(self, now: float) -> tuple[Effect, ...]:
        if self._let_go_at is not None and self._let_go_at <= now:
            self._let_go_at = None
            self._resolver.let_go()
        return self._settle(self._authorities.tick(now), now)

    def deadline(self) -> float | None:
        times = (self._authorities.deadline(), self._let_go_at)
        return min((time for time in times if time is not None), default=None)

    @property
    def relied_on(self) -> Server:
        """The server whose word counts now for names without an authority."""
        return self._authorities.relied_on()

    def conversation(self, server: Server) -> Ads | None:
        return self._authorities.conversations.get(server)

    @property
    def version(self) -> str:
        """``lds v3, rds v3, cds v3, eds v7``; just ``v3`` where all are of one version."""
        versions = {label: self._said(url)[0] for label, url in _LABELS}
        known = {label: version for label, version in versions.items() if version}
        if len(set(known.values())) == 1:
            return next(iter(known.values()))
        return ", ".join(f"{label} {version}" for label, version in known.items())

    def trouble(self, type_url: str, name: str) -> str:
        """What is wrong with a resource now, or with what a cluster needs besides; "": nothing."""
        entry = self.watches.get(type_url, name)
        if entry is not None and entry.error:
            return f"{name}: {entry.error}"
        if type_url == CLUSTER and entry is not None and entry.resource is not None:
            service = entry.resource.load_assignment_name
            if service is not None:
                return self.trouble(ENDPOINT, service)
        lost = self.watches.connection_error_of(name)
        return f"the control plane is not connected: {lost}" if lost else ""

    def status(self) -> tuple[TypeStatus, ...]:
        entries = self.watches.entries()
        return tuple(
            TypeStatus(
                type_url=url,
                version=version,
                nonce=nonce,
                error=error,
                resources=tuple(entry for entry in entries if entry.type_url == url),
                accepted=self.watches.accepted[url],
                rejected=self.watches.rejected[url],
            )
            for url in self._types
            for version, nonce, error in [self._said(url)]
        )

    def servers(self) -> tuple[ServerStatus, ...]:
        """Those that are asked now."""
        return tuple(
            ServerStatus(
                server=server,
                connected=ads.connected,
                delta=ads.delta,
                error=ads.error,
                failures=ads.failures,
                last_status=ads.last_status,
                authorities=self._authorities.users_of(server),
            )
            for server, ads in self._authorities.conversations.items()
        )

    def _said(self, type_url: str) -> tuple[str, str, str]:
        """Version, nonce and error of a type; of several servers, all that they say."""
        every = [ads.types for ads in self._authorities.conversations.values()]
        states = [types[type_url] for types in every if type_url in types]
        return (
            _joined(state.version for state in states),
            _joined(state.nonce for state in states),
            _joined(state.error for state in states),
        )

    def _settle(self, news: Iterable[Errand | Report], now: float) -> tuple[Effect, ...]:
        effects: list[Effect] = list(news)
        while changes := self._resolver.resolve():
            effects += self._apply(changes, now)
        if self._keeper is not None:  # before the clusters that have use for them
            effects += self._deliveries.due(self._resolver.secrets())
        if self._resolver.holds and self._let_go_at is None:
            self._let_go_at = now + CALLS_END
        update = self._resolver.update(self.version)
        return tuple(effects) if update is None else (*effects, update)

    def _apply(self, changes: Iterable[SubscriptionChanged], now: float) -> list[Errand | Report]:
        return [e for change in changes for e in self._authorities.change(change, now)]


_LABELS = (("lds", LISTENER), ("rds", ROUTE), ("cds", CLUSTER), ("eds", ENDPOINT))


def _joined(texts: Iterable[str]) -> str:
    return "+".join(dict.fromkeys(filter(None, texts)))
