"""One scripted control plane, and the law that each request is held against."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError, Problem
from ..model import ClusterLoadAssignment
from ..xds.ads import COMPLETE_TYPES
from ..xds.encodings import Request, SendDelta, SendRequest
from ..xds.responses import RawResource


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

    def pack(self, type_url: str, value: Any, *, name: str = "", version: str = "") -> RawResource:
        self._values.append(value)
        token = str(len(self._values) - 1).encode()
        return RawResource(type_url, token, name=name, version=version)

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
    asked: bool = False
    names: set[str] = field(default_factory=set)


@dataclass(slots=True)
class ProtocolLaw:
    """What every client owes; raises ``AssertionError`` on a breach."""

    accepted: dict[str, str] = field(default_factory=dict)
    answers: list[tuple[str, str, bool]] = field(default_factory=list)
    sent: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    _types: dict[str, _Spoken] = field(default_factory=dict)
    _greeted: bool = False
    _offered: dict[str, str] = field(default_factory=dict)

    def stream_opened(self) -> None:
        self._types.clear()
        self._greeted = False

    def responded(
        self, type_url: str, version: str, nonce: str, resources: Iterable[RawResource] = ()
    ) -> None:
        spoken = self._types.setdefault(type_url, _Spoken())
        assert not spoken.unanswered, f"{spoken.unanswered} was neither ACKed nor NACKed"
        spoken.nonce = spoken.unanswered = nonce
        self._offered[type_url] = version
        for each in resources:
            self.sent.setdefault(type_url, {}).setdefault(each.name, set()).add(each.version)

    def requested(self, request: Request) -> None:
        assert request.first is not self._greeted, "the node goes with the first request, only"
        self._greeted = True
        spoken = self._types.setdefault(request.type_url, _Spoken())
        if isinstance(request, SendDelta):
            self._delta(request, spoken)
        else:
            self._state_of_the_world(request, spoken)
        spoken.asked = True

    def all_answered(self) -> bool:
        return not any(spoken.unanswered for spoken in self._types.values())

    def _state_of_the_world(self, request: SendRequest, spoken: _Spoken) -> None:
        assert request.nonce == spoken.nonce, "the nonce is the latest of this type and stream"
        if spoken.unanswered:
            self._answered(request, spoken)
            if not request.error:
                offered = self._offered[request.type_url]
                assert request.version == offered, "an ACK has the version"
        else:
            assert not request.error, "a NACK answers a response"
        if not request.names:
            assert spoken.names or request.type_url not in COMPLETE_TYPES, "asks for everything"
        spoken.names.update(request.names)
        allowed = (self.accepted.get(request.type_url, ""), "")
        assert request.version in allowed, "the version is one that was accepted, or none"
        if not request.names:
            self.accepted.pop(request.type_url, None)

    def _delta(self, request: SendDelta, spoken: _Spoken) -> None:
        subscribe, unsubscribe = set(request.subscribe), set(request.unsubscribe)
        assert "*" not in subscribe, "asks for everything"
        if request.nonce:
            assert request.nonce == spoken.unanswered, "a nonce answers a response, once"
            self._answered(request, spoken)
        else:
            assert not request.error, "a NACK answers a response"
            assert subscribe or unsubscribe, "says nothing"
        assert not subscribe & spoken.names, "asked for that already"
        assert unsubscribe <= spoken.names, "never asked for that"
        if not spoken.asked:
            assert subscribe, "asks for everything"
            assert set(request.versions) <= subscribe, "has what it does not ask for"
            sent = self.sent.get(request.type_url, {})
            for name, version in request.versions.items():
                assert version in sent.get(name, ()), f"{name} was never sent in {version}"
        else:
            assert not request.versions, "versions go with the first request of a type, only"
        spoken.names = (spoken.names | subscribe) - unsubscribe

    def _answered(self, request: Request, spoken: _Spoken) -> None:
        spoken.unanswered = ""
        self.answers.append((request.type_url, request.nonce, not request.error))
        if not request.error:
            self.accepted[request.type_url] = self._offered[request.type_url]
