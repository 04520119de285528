"""Who is asked for what: authorities (gRFC A47), each with servers in order (gRFC A71)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .ads import (
    Action,
    Ads,
    Answered,
    Event,
    Lost,
    OpenStream,
    Report,
    StreamClosed,
    SubscriptionChanged,
)
from .bootstrap import Server
from .encodings import SendDelta, SendRequest
from .names import authority, canonical
from .watches import Watches

Servers = tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Nothing is asked of this server any more."""


@dataclass(frozen=True, slots=True)
class Errand:
    """Something to be done at one server."""

    server: Server
    action: OpenStream | SendRequest | SendDelta | CloseStream


@dataclass(slots=True)
class Authority:
    """``in_use``: how many of the servers are asked, from the first; only the last is relied on."""

    name: str | None
    servers: Servers
    in_use: int = 0
    asked: dict[str, dict[str, None]] = field(default_factory=dict)


class Authorities:
    """Sends each name to the servers of its authority; a server has one conversation at most."""

    def __init__(
        self,
        servers: Mapping[str | None, Servers],
        watches: Watches,
        converse: Callable[[Server], Ads],
    ) -> None:
        self._authorities = {name: Authority(name, each) for name, each in servers.items()}
        self._watches = watches
        self._converse = converse
        self._conversations: dict[Server, Ads] = {}
        self._speaks_no_delta: set[Server] = set()

    @property
    def conversations(self) -> Mapping[Server, Ads]:
        return dict(self._conversations)

    def relied_on(self, name: str | None = None) -> Server:
        """The server whose word counts now for an authority."""
        who = self._authorities[name]
        return who.servers[max(0, who.in_use - 1)]

    def users_of(self, server: Server) -> tuple[str | None, ...]:
        return tuple(who.name for who in self._authorities.values() if server in _in_use(who))

    def change(self, event: SubscriptionChanged, now: float) -> Iterator[Errand | Report]:
        """Names that somebody began or ceased to refer to, whoever answers for them."""
        changes: dict[str | None, tuple[list[str], list[str]]] = {}
        for name in map(canonical, event.unsubscribe):
            self._watches.unwatch(event.type_url, name)
            changes.setdefault(authority(name), ([], []))[1].append(name)
        for name in map(canonical, event.subscribe):
            self._watches.watch(event.type_url, name)
            changes.setdefault(authority(name), ([], []))[0].append(name)
        for asked, (new, gone) in changes.items():
            if (who := self._authorities.get(asked)) is None:
                yield from self._disown(event.type_url, new, asked)
            else:
                part = SubscriptionChanged(event.type_url, tuple(new), tuple(gone))
                yield from self._change(who, part, now)

    def handle(self, server: Server, event: Event, now: float) -> Iterator[Errand | Report]:
        """News of a server's stream; nothing, if it is not asked any more."""
        if (ads := self._conversations.get(server)) is None:
            return
        yield from self._sorted(server, ads.handle(event, now), now)
        if isinstance(event, StreamClosed) and event.unimplemented and not ads.delta:
            self._speaks_no_delta.add(server)

    def tick(self, now: float) -> Iterator[Errand | Report]:
        for server, ads in self.conversations.items():
            yield from self._sorted(server, ads.tick(now), now)
        for _ in self._watches.expire(now):
            pass  # the resolver reads it from the cache

    def deadline(self) -> float | None:
        times = [ads.deadline() for ads in self._conversations.values()]
        times.append(self._watches.next_expiry())
        return min((time for time in times if time is not None), default=None)

    # Subscriptions

    def _disown(self, type_url: str, names: Iterable[str], asked: str | None) -> Iterator[Report]:
        for name in names:
            error = f"the bootstrap has no authority {asked!r}"
            self._watches.disown(type_url, name, error)
            yield Report(f"{name}: {error}")

    def _change(
        self, who: Authority, event: SubscriptionChanged, now: float
    ) -> Iterator[Errand | Report]:
        names = who.asked.setdefault(event.type_url, {})
        names.update(dict.fromkeys(event.subscribe))
        for name in event.unsubscribe:
            names.pop(name, None)
        who.in_use = max(1, who.in_use)
        for server in _in_use(who):
            yield from self._tell(server, event, now)
        yield from self._fall_back(who, now)

    def _tell(
        self, server: Server, event: SubscriptionChanged, now: float
    ) -> Iterator[Errand | Report]:
        if server not in self._conversations:
            self._conversations[server] = self._converse(server)
            if server in self._speaks_no_delta:
                self._conversations[server].delta = False
        yield from self._sorted(server, self._conversations[server].handle(event, now), now)

    def _sorted(
        self, server: Server, actions: Iterable[Action], now: float
    ) -> Iterator[Errand | Report]:
        """Notices end here: the resolver reads what they tell from the cache."""
        for action in actions:
            match action:
                case Answered():
                    yield from self._promote(server, now)
                case Lost(status):
                    yield from self._demote(server, status, now)
                case OpenStream() | SendRequest() | SendDelta():
                    yield Errand(server, action)
                case Report():
                    yield action
                case _:
                    pass

    # Order of preference

    def _demote(self, server: Server, status: str, now: float) -> Iterator[Errand | Report]:
        """A server does not answer: the next one is asked, if something is not known at all."""
        for who in self._authorities.values():
            if who.in_use and who.servers[who.in_use - 1] == server:
                yield from self._fall_back(who, now)
                if who.servers[who.in_use - 1] == server:
                    self._watches.disconnect(status, who.name)

    def _fall_back(self, who: Authority, now: float) -> Iterator[Errand | Report]:
        while self._conversations[who.servers[who.in_use - 1]].error and self._lacks(who):
            if who.in_use == len(who.servers):
                last = self._conversations[who.servers[-1]]
                self._watches.disconnect(last.error, who.name)
                return
            server = who.servers[who.in_use]
            who.in_use += 1
            yield Report(f"falling back to {server.server_uri}{_for(who)}")
            for type_url, names in who.asked.items():
                event = SubscriptionChanged(type_url, tuple(names))
                yield from self._tell(server, event, now)

    def _lacks(self, who: Authority) -> bool:
        entries = (self._watches.get(url, n) for url, names in who.asked.items() for n in names)
        return any(entry is not None and entry.is_unheard_of for entry in entries)

    def _promote(self, server: Server, now: float) -> Iterator[Errand | Report]:
        """A server answers: those that come after it are not needed any more."""
        for who in self._authorities.values():
            if server not in _in_use(who):
                continue
            place = who.servers.index(server) + 1
            lower, who.in_use = who.servers[place : who.in_use], place
            for each in lower:
                yield from self._release(who, each, now)
            if lower:
                yield Report(f"{server.server_uri} is back{_for(who)}")
            self._watches.reconnect(who.name)

    def _release(self, who: Authority, server: Server, now: float) -> Iterator[Errand | Report]:
        if self.users_of(server):
            for type_url, names in who.asked.items():
                event = SubscriptionChanged(type_url, unsubscribe=tuple(names))
                yield from self._tell(server, event, now)
        else:
            del self._conversations[server]
            yield Errand(server, CloseStream())


def _in_use(who: Authority) -> Servers:
    return who.servers[: who.in_use]


def _for(who: Authority) -> str:
    return f" for authority {who.name!r}" if who.name is not None else ""
