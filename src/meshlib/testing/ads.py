"""The xDS client and scripted control planes, joined in memory; time passes when it is told to.

The control planes are sticklers: each request is held against the law of the protocol, so that
every test which uses them checks the wire too.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..model import Snapshot
from ..xds.ads import OpenStream, Report, RequestSent, StreamClosed, StreamOpened
from ..xds.authority import CloseStream, Errand
from ..xds.bootstrap import Server
from ..xds.discovery import TYPES, Discovery, Effect
from ..xds.encodings import Request, SendDelta, SendRequest
from ..xds.lines import shown_request, shown_response
from ..xds.resolver import Update
from ..xds.responses import RawResource, ResourceError, ResponseReceived
from ..xds.secrets import Keeper, SecretChanged
from ..xds.types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME
from ..xds.watches import NOT_FOUND
from .ads_law import AdsLaw
from .ads_plane import Bad, Named, Tokens

__all__ = ["AdsPair", "Bad", "Named", "Plane", "Tokens", "rooms"]


class Plane:
    """One control plane: its stream, what was asked of it, and the law it holds up."""

    def __init__(self, pair: "AdsPair", server: Server) -> None:
        self.server = server
        self.law = AdsLaw()
        self.requests: list[Request] = []
        self.opened: list[float] = []
        self.closed = 0
        self.wants_stream = False
        self.is_open = False
        self.delta = False
        self._pair = pair
        self._connected = False
        self._unsent: list[Request] = []
        self._nonces = 0
        self._streams = 0

    def open(self) -> None:
        """The stream exists; whether anything is connected is another question."""
        assert self.wants_stream, "the client does not want a stream now"
        self.wants_stream, self.is_open = False, True
        self._streams += 1
        self._pair.happen(self, StreamOpened())

    def connect(self) -> None:
        """Open the stream if need be, and take what the client sends."""
        if not self.is_open:
            self.open()
        self._connected = True
        self.flush()

    def respond(
        self,
        type_url: str,
        *resources: Any,
        version: str = "1",
        errors: Iterable[ResourceError] = (),
        removed: Iterable[str] = (),
    ) -> str:
        """Send resources of the model, :class:`Bad`, :class:`Named` or raw ones; the nonce."""
        self._nonces += 1
        nonce = f"n{self._nonces}"
        raw = tuple(self._packed(type_url, each, version) for each in resources)
        response = ResponseReceived(
            type_url=type_url,
            version=version,
            nonce=nonce,
            resources=raw,
            errors=tuple(errors),
            removed=tuple(removed),
        )
        assert self.delta or not response.removed, "state of the world removes by silence"
        self._heard("received", shown_response(response, delta=self.delta))
        self._pair.happen(self, response)
        return nonce

    def _packed(self, type_url: str, resource: Any, version: str) -> RawResource:
        if isinstance(resource, RawResource):
            return resource
        if not self.delta:
            return self._pair.tokens.pack(type_url, resource)
        name = getattr(resource, "name", "") or getattr(resource, "cluster_name", "")
        return self._pair.tokens.pack(type_url, resource, name=name, version=version)

    def serve(self, snapshot: Snapshot, version: str = "1") -> None:
        """Answer whatever is asked from a snapshot, until nothing more is asked."""
        sent: dict[str, tuple[str, ...]] = {}
        while pending := [t for t in TYPES if sent.get(t, ()) != self.names(t)]:
            type_url = pending[0]
            sent[type_url] = self.names(type_url)
            room = rooms(snapshot)[type_url]
            self.respond(
                type_url,
                *(room[name] for name in sent[type_url] if name in room),
                version=version,
                errors=[
                    ResourceError(name, NOT_FOUND, f"no {name}")
                    for name in sent[type_url]
                    if name not in room
                ],
            )

    def delete(self, type_url: str, *names: str, keep: Iterable[Any] = (), version: str) -> str:
        """Take listeners or clusters back as the encoding does it: by name, or by silence."""
        if self.delta:
            return self.respond(type_url, version=version, removed=names)
        return self.respond(type_url, *keep, version=version)

    def names(self, type_url: str) -> tuple[str, ...]:
        """What the client is subscribed to."""
        ads = self._pair.discovery.conversation(self.server)
        return tuple(ads.types[type_url].names) if ads is not None else ()

    def close(self, status: str = "gone", *, unimplemented: bool = False) -> None:
        self._forget()
        self._pair.happen(self, StreamClosed(status, unimplemented))

    def take(self) -> list[Any]:
        """The requests since the last look."""
        taken, self.requests = self.requests, []
        return taken

    def perform(self, errand: Errand) -> None:
        match errand.action:
            case OpenStream(delta):
                assert not self.is_open, "one stream at a time"
                self.wants_stream, self.delta = True, delta
                self.opened.append(self._pair.now)
            case SendRequest() | SendDelta() as request:
                assert self.is_open, "no stream to send on"
                assert isinstance(request, SendDelta) is self.delta, "the encoding of the stream"
                self._heard("sent", shown_request(request))
                self.requests.append(request)
                self._unsent.append(request)
            case CloseStream():
                self.closed += 1
                self._forget()

    def flush(self) -> None:
        while self._connected and self._unsent:
            self._pair.happen(self, RequestSent(self._unsent.pop(0)))

    def _heard(self, what: str, message: dict[str, Any]) -> None:
        place = {"server": self.server.server_uri, "stream": self._streams, "delta": self.delta}
        self.law(what, {**place, **message})
        self.law.uphold()

    def _forget(self) -> None:
        if self.is_open:
            self._heard("closed", {})
        self.is_open = self.wants_stream = self._connected = False
        self._unsent.clear()


class AdsPair:
    """``now`` is the clock of all ends; what the client does is kept in the lists.

    With ``servers`` (of authorities, in order of preference) there are more than one control
    plane: ask for one of them by :meth:`at`; what is asked of the pair itself is of the first.
    """

    def __init__(
        self,
        *,
        server_features: Iterable[str] = (),
        luck: float = 0.5,
        delta: bool = False,
        servers: Mapping[str | None, tuple[Server, ...]] | None = None,
        is_called: Callable[[str], bool] | None = None,
        keeper: Keeper | None = None,
        heeded: Iterable[str] = (),
    ) -> None:
        self.now = 0.0
        self.tokens = Tokens()
        features = tuple(server_features)
        only = Server(server_uri="control-plane", server_features=features, delta=delta)
        self.servers: Mapping[str | None, tuple[Server, ...]] = servers or {None: (only,)}
        self.discovery = Discovery(
            self.tokens.decode,
            dice=lambda: luck,
            servers=self.servers,
            is_called=is_called,
            keeper=keeper,
            heeded=heeded,
        )
        self.updates: list[Update] = []
        self.secrets: list[SecretChanged] = []
        self.reports: list[str] = []
        self.notes: list[str] = []
        every = dict.fromkeys(each for group in self.servers.values() for each in group)
        self._planes = {server.server_uri: Plane(self, server) for server in every}
        first = self._first = self._planes[self.servers[None][0].server_uri]
        self.open, self.connect, self.close = first.open, first.connect, first.close
        self.respond, self.serve, self.delete = first.respond, first.serve, first.delete
        self.names, self.take = first.names, first.take

    def at(self, server_uri: str) -> Plane:
        return self._planes[server_uri]

    @property
    def law(self) -> AdsLaw:
        return self._first.law

    @property
    def opened(self) -> list[float]:
        """When the client wanted a stream to the first control plane."""
        return self._first.opened

    @property
    def snapshot(self) -> Snapshot:
        return self.updates[-1].snapshot if self.updates else Snapshot()

    @property
    def absent(self) -> frozenset[str]:
        return self.updates[-1].absent if self.updates else frozenset()

    @property
    def is_open(self) -> bool:
        return self._first.is_open

    @property
    def wants_stream(self) -> bool:
        return self._first.wants_stream

    def watch(self, *listeners: str) -> None:
        self._perform(self.discovery.watch(listeners, self.now))

    def happen(self, plane: Plane, event: Any) -> None:
        self._perform(self.discovery.handle(plane.server, event, self.now))

    def jump(self, seconds: float) -> None:
        """Let time pass, each deadline at its moment."""
        end = self.now + seconds
        while (due := self.discovery.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self._perform(self.discovery.tick(self.now))
        self.now = end

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Errand(server):
                    self._planes[server.server_uri].perform(effect)
                case Report(text, routine):
                    (self.notes if routine else self.reports).append(text)
                case SecretChanged():
                    self.secrets.append(effect)
                case Update():
                    self.updates.append(effect)
        for plane in self._planes.values():
            plane.flush()


def rooms(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    return {
        LISTENER: dict(snapshot.listeners),
        ROUTE: dict(snapshot.routes),
        CLUSTER: dict(snapshot.clusters),
        ENDPOINT: dict(snapshot.endpoints),
        RUNTIME: dict(snapshot.runtimes),
        EXTENSION: dict(snapshot.extensions),
    }
