"""The xDS client and a scripted control plane, joined in memory; time passes when it is told to.

The control plane is a stickler: each request is held against the law of the protocol, so that
every test which uses it checks the wire too.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError, Problem
from ..model import ClusterLoadAssignment, Snapshot
from ..xds.ads import (
    COMPLETE_TYPES,
    OpenStream,
    Report,
    RequestSent,
    SendRequest,
    StreamClosed,
    StreamOpened,
)
from ..xds.discovery import TYPES, Discovery, Effect
from ..xds.resolver import Update
from ..xds.responses import RawResource, ResourceError, ResponseReceived
from ..xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from ..xds.watches import NOT_FOUND


@dataclass(frozen=True, slots=True)
class Bad:
    """A resource that the client refuses; without ``name`` not even that can be read."""

    name: str
    what: str = "must not be"


@dataclass(frozen=True, slots=True)
class Named:
    """A decoded resource, as the codec gives it."""

    name: str
    resource: Any
    ignored: tuple[str, ...] = ()


class RefusedError(ConfigError):
    def __init__(self, bad: Bad) -> None:
        super().__init__(Problem(bad.name, bad.what))
        self.name = bad.name


class Tokens:
    """A stand-in for the codec: what is sent is a token, and the value stays here."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    def pack(self, type_url: str, value: Any) -> RawResource:
        self._values.append(value)
        return RawResource(type_url, str(len(self._values) - 1).encode())

    def decode(self, type_url: str, token: bytes) -> Named:
        match self._values[int(token)]:
            case Bad() as bad:
                raise RefusedError(bad)
            case Named() as named:
                return named
            case ClusterLoadAssignment() as assignment:
                return Named(assignment.cluster_name, assignment)
            case resource:
                return Named(resource.name, resource)


@dataclass(slots=True)
class _Spoken:
    """What was said about one type on one stream."""

    nonce: str = ""
    unanswered: str = ""
    named: bool = False


@dataclass(slots=True)
class ProtocolLaw:
    """What every client owes; raises ``AssertionError`` on a breach."""

    accepted: dict[str, str] = field(default_factory=dict)
    answers: list[tuple[str, str, bool]] = field(default_factory=list)
    _types: dict[str, _Spoken] = field(default_factory=dict)
    _greeted: bool = False
    _offered: dict[str, str] = field(default_factory=dict)

    def stream_opened(self) -> None:
        self._types.clear()
        self._greeted = False

    def responded(self, type_url: str, version: str, nonce: str) -> None:
        spoken = self._types.setdefault(type_url, _Spoken())
        assert not spoken.unanswered, f"{spoken.unanswered} was neither ACKed nor NACKed"
        spoken.nonce = spoken.unanswered = nonce
        self._offered[type_url] = version

    def requested(self, request: SendRequest) -> None:
        assert request.first is not self._greeted, "the node goes with the first request, only"
        self._greeted = True
        spoken = self._types.setdefault(request.type_url, _Spoken())
        assert request.nonce == spoken.nonce, "the nonce is the latest of this type and stream"
        if spoken.unanswered:
            self._answered(request)
            spoken.unanswered = ""
        else:
            assert not request.error, "a NACK answers a response"
        if not request.names:
            assert spoken.named or request.type_url not in COMPLETE_TYPES, "asks for everything"
        spoken.named = spoken.named or bool(request.names)
        allowed = (self.accepted.get(request.type_url, ""), "")
        assert request.version in allowed, "the version is one that was accepted, or none"
        if not request.names:
            self.accepted.pop(request.type_url, None)

    def all_answered(self) -> bool:
        return not any(spoken.unanswered for spoken in self._types.values())

    def _answered(self, request: SendRequest) -> None:
        self.answers.append((request.type_url, request.nonce, not request.error))
        if not request.error:
            self.accepted[request.type_url] = self._offered[request.type_url]
            assert request.version == self._offered[request.type_url], "an ACK has the version"


class AdsPair:
    """``now`` is the clock of both ends; what the client does is kept in the lists."""

    def __init__(self, *, server_features: Iterable[str] = (), luck: float = 0.5) -> None:
        self.now = 0.0
        self.tokens = Tokens()
        self.law = ProtocolLaw()
        self.discovery = Discovery(
            self.tokens.decode, dice=lambda: luck, server_features=server_features
        )
        self.requests: list[SendRequest] = []
        self.updates: list[Update] = []
        self.reports: list[str] = []
        self.opened: list[float] = []
        self._asked_to_open = False
        self._open = False
        self._connected = False
        self._unsent: list[SendRequest] = []
        self._nonces = 0

    @property
    def snapshot(self) -> Snapshot:
        return self.updates[-1].snapshot if self.updates else Snapshot()

    @property
    def absent(self) -> frozenset[str]:
        return self.updates[-1].absent if self.updates else frozenset()

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def wants_stream(self) -> bool:
        return self._asked_to_open

    def watch(self, *listeners: str) -> None:
        self._perform(self.discovery.watch(listeners, self.now))

    def open(self) -> None:
        """The stream exists; whether anything is connected is another question."""
        assert self._asked_to_open, "the client does not want a stream now"
        self._asked_to_open, self._open = False, True
        self.law.stream_opened()
        self._perform(self.discovery.handle(StreamOpened(), self.now))

    def connect(self) -> None:
        """Open the stream if need be, and take what the client sends."""
        if not self._open:
            self.open()
        self._connected = True
        self._flush()

    def respond(
        self,
        type_url: str,
        *resources: Any,
        version: str = "1",
        errors: Iterable[ResourceError] = (),
    ) -> str:
        """Send resources of the model, :class:`Bad`, :class:`Named` or raw ones; the nonce."""
        self._nonces += 1
        nonce = f"n{self._nonces}"
        raw = (
            r if isinstance(r, RawResource) else self.tokens.pack(type_url, r) for r in resources
        )
        response = ResponseReceived(
            type_url=type_url,
            version=version,
            nonce=nonce,
            resources=tuple(raw),
            errors=tuple(errors),
        )
        if type_url in TYPES:
            self.law.responded(type_url, version, nonce)
        self._perform(self.discovery.handle(response, self.now))
        return nonce

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

    def names(self, type_url: str) -> tuple[str, ...]:
        """What the client is subscribed to."""
        return tuple(self.discovery.ads.types[type_url].names)

    def close(self, status: str = "gone") -> None:
        self._open = self._connected = False
        self._unsent.clear()
        self._perform(self.discovery.handle(StreamClosed(status), self.now))

    def jump(self, seconds: float) -> None:
        """Let time pass, each deadline at its moment."""
        end = self.now + seconds
        while (due := self.discovery.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self._perform(self.discovery.tick(self.now))
        self.now = end

    def take(self) -> list[SendRequest]:
        """The requests since the last look."""
        taken, self.requests = self.requests, []
        return taken

    def _flush(self) -> None:
        while self._connected and self._unsent:
            self._perform(self.discovery.handle(RequestSent(self._unsent.pop(0)), self.now))

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case OpenStream():
                    assert not self._open, "one stream at a time"
                    self._asked_to_open = True
                    self.opened.append(self.now)
                case SendRequest():
                    assert self._open, "no stream to send on"
                    self.law.requested(effect)
                    self.requests.append(effect)
                    self._unsent.append(effect)
                case Report(text):
                    self.reports.append(text)
                case Update():
                    self.updates.append(effect)
        self._flush()


def rooms(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    return {
        LISTENER: dict(snapshot.listeners),
        ROUTE: dict(snapshot.routes),
        CLUSTER: dict(snapshot.clusters),
        ENDPOINT: dict(snapshot.endpoints),
    }
