"""The law of the ADS protocol, held against a wire log: of a client, or of a server.

An :class:`AdsLaw` is what ``wire=`` of a client or a server wants. Breaches are collected, each in
a sentence; :meth:`AdsLaw.uphold` raises for the first.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..xds.ads import COMPLETE_TYPES

WILDCARD = "*"
Message = Mapping[str, Any]


@dataclass(slots=True)
class Spoken:
    """What was said of one type on one stream.

    In delta, ``has`` are the versions of what the client has, and ``owed`` the names that it asked
    for and the server has said nothing of yet.
    """

    asked: bool = False
    names: set[str] = field(default_factory=set)
    wildcard: bool = False
    named_before: bool = False
    nonce: str = ""
    nonces: set[str] = field(default_factory=set)
    unanswered: deque[tuple[str, str]] = field(default_factory=deque)
    version: str = ""
    has: dict[str, str] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)


@dataclass(slots=True)
class StreamLog:
    """``peer`` is who the client talks to, where the log is that of a client."""

    name: str
    peer: str
    delta: bool
    greeted: bool = False
    closed: bool = False
    types: dict[str, Spoken] = field(default_factory=dict)


class AdsLaw:
    """``wildcards``: clients may ask for everything, as Envoy does; ours never do.

    A log with "sent" and "received" is that of a client, one with "request" and "response" that of
    a server. In the first the client alone is judged, and knows what it received; in the second
    both are, and what the client says may have crossed a response.
    """

    def __init__(self, *, wildcards: bool = False) -> None:
        self.violations: list[str] = []
        self.answers: list[tuple[str, str, bool]] = []
        """Type, nonce, and whether it was an ACK."""
        self.responses = 0
        self._wildcards = wildcards
        self._streams: dict[str, StreamLog] = {}
        self._accepted: dict[tuple[str, str], str] = {}
        self._seen: dict[tuple[str, str], dict[str, set[str]]] = {}

    def __call__(self, what: str, message: Message) -> None:
        stream = self._stream(message)
        if stream.closed:
            if what != "received":  # what comes late is not the fault of whom it comes to
                self._breach(stream, message.get("type_url", ""), "it speaks after the end")
            return
        match what:
            case "sent" | "request":
                self._requested(stream, message, crossing=what == "request")
            case "received" | "response":
                self._responded(stream, message, judged=what == "response")
            case "closed":
                stream.closed = True
            case _:
                pass  # "opened"

    def unanswered(self) -> list[str]:
        """Responses on streams that live, to which nobody said ACK or NACK."""
        return [
            f"{stream.name} {type_url} nonce {nonce}"
            for stream in self._streams.values()
            if not stream.closed
            for type_url, spoken in stream.types.items()
            for nonce, _ in spoken.unanswered
        ]

    def uphold(self) -> None:
        """Raises ``AssertionError`` with the first breach."""
        assert not self.violations, self.violations[0]

    def _stream(self, message: Message) -> StreamLog:
        peer = str(message.get("server", ""))
        name = f"{peer} stream {message['stream']}".strip()
        if name not in self._streams:
            self._streams[name] = StreamLog(name, peer, bool(message["delta"]))
        return self._streams[name]

    def _breach(self, stream: StreamLog, type_url: str, text: str) -> None:
        self.violations.append(f"{stream.name} {type_url.rpartition('.')[2]}: {text}")

    # The client

    def _requested(self, stream: StreamLog, message: Message, *, crossing: bool) -> None:
        type_url = message.get("type_url", "")
        spoken = stream.types.setdefault(type_url, Spoken())
        breaches = [*_node(stream, message)]
        if not type_url:
            breaches.append("a request names no type")
        if stream.delta:
            breaches += self._delta(stream, type_url, spoken, message)
        else:
            breaches += self._state_of_the_world(stream, type_url, spoken, message, crossing)
        stream.greeted = spoken.asked = True
        for text in breaches:
            self._breach(stream, type_url, text)

    def _state_of_the_world(
        self, stream: StreamLog, type_url: str, spoken: Spoken, message: Message, crossing: bool
    ) -> list[str]:
        breaches: list[str] = []
        names, nonce = set(message.get("resource_names", ())), message.get("response_nonce", "")
        version, error = message.get("version_info", ""), "error_detail" in message
        offered = self._answer(type_url, spoken, nonce, nacked=error)
        if offered is not None:
            spoken.version = spoken.version if error else offered
        else:
            if spoken.unanswered and not crossing:
                breaches.append(f"{spoken.unanswered[0][0]} was neither ACKed nor NACKed")
            elif nonce != spoken.nonce:
                breaches.append(f"the nonce {nonce!r} is not the latest, {spoken.nonce!r}")
            if error:
                breaches.append("a NACK answers no response")
            if spoken.asked and names == spoken.names:
                breaches.append("a request says nothing new, and answers nothing")
        breaches += self._version(stream, type_url, spoken, version, crossing)
        breaches += self._asks_for_everything(type_url, spoken, names)
        if not names:
            spoken.version = ""  # whoever wants nothing of a type forgets its version
        self._accepted[stream.peer, type_url] = spoken.version
        spoken.names = names
        spoken.named_before = spoken.named_before or bool(names)
        legacy = type_url in COMPLETE_TYPES and not spoken.named_before
        spoken.wildcard = WILDCARD in names or legacy
        return breaches

    def _version(
        self, stream: StreamLog, type_url: str, spoken: Spoken, version: str, crossing: bool
    ) -> list[str]:
        if spoken.asked:
            wrong = version != spoken.version
            return [f"version {version!r}, but {spoken.version!r} is in force"] if wrong else []
        if crossing:
            spoken.version = version  # from a stream before, perhaps of another server
            return []
        last = self._accepted.get((stream.peer, type_url), "")
        spoken.version = version
        return [] if version in (last, "") else [f"{version!r} was not accepted last, {last!r} was"]

    def _asks_for_everything(self, type_url: str, spoken: Spoken, names: set[str]) -> list[str]:
        if self._wildcards:
            return []
        never_named = type_url in COMPLETE_TYPES and not spoken.named_before
        if WILDCARD in names or (not names and never_named):
            return ["it asks for everything"]
        return ["it asks for nothing"] if not names and not spoken.asked else []

    def _delta(
        self, stream: StreamLog, type_url: str, spoken: Spoken, message: Message
    ) -> list[str]:
        breaches: list[str] = []
        subscribe = set(message.get("resource_names_subscribe", ()))
        unsubscribe = set(message.get("resource_names_unsubscribe", ()))
        nonce, error = message.get("response_nonce", ""), "error_detail" in message
        if nonce and self._answer(type_url, spoken, nonce, nacked=error) is None:
            breaches.append(f"the nonce {nonce!r} answers no response, or answers it again")
        if error and not nonce:
            breaches.append("a NACK answers no response")
        if not nonce and spoken.asked and not subscribe and not unsubscribe:
            breaches.append("a request says nothing")
        if subscribe & spoken.names:
            breaches.append(f"{sorted(subscribe & spoken.names)} was asked for already")
        if unsubscribe - spoken.names:
            breaches.append(f"{sorted(unsubscribe - spoken.names)} was never asked for")
        everything = WILDCARD in subscribe or (not spoken.asked and not subscribe)
        if everything and not self._wildcards:
            breaches.append("it asks for everything")
        versions = dict(message.get("initial_resource_versions", {}))
        breaches += self._initial(stream, type_url, spoken, versions, subscribe, everything)
        wide = (spoken.wildcard or everything) and WILDCARD not in unsubscribe
        spoken.owed |= (subscribe - versions.keys()) | (unsubscribe if wide else set())
        for name in subscribe | unsubscribe:
            spoken.has.pop(name, None)
        spoken.has |= versions
        spoken.names = (spoken.names | subscribe) - unsubscribe
        spoken.wildcard = wide
        return breaches

    def _initial(
        self,
        stream: StreamLog,
        type_url: str,
        spoken: Spoken,
        versions: Mapping[str, str],
        subscribe: set[str],
        everything: bool,
    ) -> list[str]:
        if versions and spoken.asked:
            return ["versions go with the first request of a type, only"]
        if versions.keys() - subscribe and not everything:
            return [f"has {sorted(versions.keys() - subscribe)}, for which it does not ask"]
        seen = self._seen.get((stream.peer, type_url))
        if not stream.peer or seen is None:
            return []
        strange = [n for n, version in versions.items() if version not in seen.get(n, ())]
        return [f"{name} was never sent in {versions[name]!r}" for name in strange]

    def _answer(self, type_url: str, spoken: Spoken, nonce: str, *, nacked: bool) -> str | None:
        """The version that was offered, if this answers a response."""
        if not spoken.unanswered or spoken.unanswered[0][0] != nonce:
            return None
        _, offered = spoken.unanswered.popleft()
        spoken.nonce = nonce
        self.answers.append((type_url, nonce, not nacked))
        return offered

    # The server

    def _responded(self, stream: StreamLog, message: Message, *, judged: bool) -> None:
        type_url, nonce = message["type_url"], message.get("nonce", "")
        spoken = stream.types.get(type_url)
        if spoken is None or not spoken.asked:
            if judged:
                self._breach(stream, type_url, "a response of a type that nobody asked for")
            return  # what a client does not know, it must not answer
        resources = {each["name"]: each.get("version", "") for each in message["resources"]}
        removed = set(message.get("removed_resources", ()))
        if judged:
            for text in _server(spoken, message, resources, removed, delta=stream.delta):
                self._breach(stream, type_url, text)
        self.responses += 1
        spoken.nonces.add(nonce)
        version = message.get("system_version_info" if stream.delta else "version_info", "")
        spoken.unanswered.append((nonce, version))
        spoken.owed -= resources.keys() | removed
        spoken.has = {n: v for n, v in (spoken.has | resources).items() if n not in removed}
        if stream.delta:
            seen = self._seen.setdefault((stream.peer, type_url), {})
            for name, sent in resources.items():
                seen.setdefault(name, set()).add(sent)


def _node(stream: StreamLog, message: Message) -> list[str]:
    if ("node" in message) is not stream.greeted:
        return []
    return ["the node comes again" if stream.greeted else "the first request has no node"]


def _server(
    spoken: Spoken,
    message: Message,
    resources: Mapping[str, str],
    removed: set[str],
    *,
    delta: bool,
) -> list[str]:
    breaches: list[str] = []
    nonce = message.get("nonce", "")
    if not nonce or nonce in spoken.nonces:
        breaches.append(f"the nonce {nonce!r} is empty, or not new")
    if spoken.unanswered:
        breaches.append("a response before the last was answered")
    if len(resources) != len(message["resources"]):
        breaches.append("a resource comes twice")
    if not spoken.wildcard and (strange := resources.keys() - spoken.names):
        breaches.append(f"{sorted(strange)} was not asked for")
    if not delta:
        return breaches
    if both := removed & resources.keys():
        breaches.append(f"{sorted(both)} is sent and removed")
    again = [name for name, version in resources.items() if spoken.has.get(name) == version != ""]
    if again:
        breaches.append(f"{sorted(again)} is sent again, as it was")
    if unknown := removed - spoken.has.keys() - spoken.owed:
        breaches.append(f"{sorted(unknown)} is removed, which the client does not have")
    return breaches
