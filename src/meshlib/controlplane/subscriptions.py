"""One stream's subscriptions: requests and snapshots go in, responses come out. No I/O.

A response is pulled, never queued: a client that reads slowly is later sent the newest state,
and one response of a type is under way at most. What is kept per type (names, and the version
of every resource sent) does not know in which encoding of xDS it is spoken.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import MeshError
from ..xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from .versions import TYPES, PackedResource, PackedSnapshot, PackedType

COMPLETE = frozenset({LISTENER, CLUSTER})
"""A response of these types holds everything asked for: what is absent does not exist."""
WAITS_FOR = {
    LISTENER: (CLUSTER, ENDPOINT),
    ROUTE: (CLUSTER, ENDPOINT, LISTENER),
}
"""A change of these is held back until the client has taken in what it may refer to.

Envoy acknowledges clusters only once they are warm, so that this is worth something.
"""
WILDCARD = "*"
MAX_NAMES = 10_000
MAX_NAME_LENGTH = 2048


class ExcessError(MeshError):
    """A client asks for more than one may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``error`` makes it a NACK, whatever version it carries."""

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """``missing``: names asked for that do not exist (xRFC TP3)."""

    type_url: str
    version: str
    nonce: str
    resources: tuple[PackedResource, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Nack:
    """``resources``: those that the text names, or all of the response if it names none."""

    version: str
    text: str
    resources: tuple[str, ...]


@dataclass(slots=True)
class TypeSubscription:
    names: set[str] = field(default_factory=set)
    wildcard: bool = False
    named_before: bool = False
    unanswered: set[str] = field(default_factory=set)
    asked: bool = False
    sent: dict[str, PackedResource] = field(default_factory=dict)
    seen: PackedType | None = None  # all of this was weighed, and sent where it had to be
    nonce: str = ""
    sent_version: str = ""
    sent_names: tuple[str, ...] = ()
    in_flight: bool = False
    acked_version: str = ""
    nack: Nack | None = None

    def selects(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def select(self, offered: Mapping[str, PackedResource]) -> dict[str, PackedResource]:
        if self.wildcard:
            return dict(offered)
        return {name: offered[name] for name in sorted(self.names) if name in offered}

    def ask(self, names: Iterable[str], *, complete: bool, restarted: bool) -> None:
        """Take in the list of names of a request."""
        asked = set(names)
        self.named_before = self.named_before or bool(asked)
        wildcard = WILDCARD in asked or (complete and not self.named_before)
        asked.discard(WILDCARD)
        new = asked if restarted else asked - self.names
        self.asked = self.asked or bool(new) or (wildcard and (restarted or not self.wildcard))
        self.names, self.wildcard = asked, wildcard
        self.unanswered = (self.unanswered | new) & asked
        if not wildcard:
            self.sent = {n: r for n, r in self.sent.items() if n in asked and n not in new}
        elif restarted:
            self.sent = {}

    def answer(self, request: Request) -> None:
        """Take in an ACK or a NACK of the last response."""
        if request.error is not None:
            named = tuple(name for name in self.sent_names if name in request.error)
            self.nack = Nack(
                version=self.sent_version,
                text=request.error,
                resources=named or self.sent_names,
            )
        elif self.in_flight:
            self.acked_version, self.nack = self.sent_version, None
        self.in_flight = False


class Subscriptions:
    """State-of-the-world: what one client asked for, was sent, and said to it."""

    def __init__(self) -> None:
        self.types: dict[str, TypeSubscription] = {}
        self._snapshot: PackedSnapshot | None = None
        self._nonce = 0

    def publish(self, snapshot: PackedSnapshot) -> None:
        """From now on this is what there is."""
        self._snapshot = snapshot

    def receive(self, request: Request) -> Nack | None:
        """Take in a request; returns the refusal that it brings, if it does.

        Raises :class:`ExcessError` for one that asks for too much.
        """
        _check(request)
        if request.type_url not in TYPES:
            return None
        state = self.types.setdefault(request.type_url, TypeSubscription())
        if request.nonce and state.nonce and request.nonce != state.nonce:
            return None  # about a response that is no longer the last: another will follow
        restarted = not request.nonce
        if restarted:
            state.in_flight = False
        else:
            state.answer(request)
        state.ask(request.names, complete=request.type_url in COMPLETE, restarted=restarted)
        return state.nack if request.error is not None else None

    def next_response(self) -> Response | None:
        """The response to send now, if any; it counts as sent."""
        if self._snapshot is None:
            return None
        for type_url in TYPES:
            state = self.types.get(type_url)
            if state is None or state.in_flight:
                continue
            offered = self._snapshot.types[type_url]
            response = (
                self._complete(type_url, state, offered)
                if type_url in COMPLETE
                else self._changed(type_url, state, offered)
            )
            if response is not None:
                return response
        return None

    def _complete(
        self, type_url: str, state: TypeSubscription, offered: PackedType
    ) -> Response | None:
        if state.seen is offered and not state.asked:
            return None
        wanted = state.select(offered.resources)
        kept = self._kept(state, wanted) if type_url == CLUSTER else {}
        content = {**wanted, **kept}
        if content == state.sent and not state.asked:
            state.seen = None if kept else offered
            return None
        if self._must_wait(type_url) and not state.asked:
            return None
        missing = tuple(sorted(state.names - wanted.keys()))
        state.sent, state.seen = content, None if kept else offered
        version = f"{offered.version}+kept" if kept else offered.version
        return self._send(type_url, state, version, tuple(content.values()), missing)

    def _changed(
        self, type_url: str, state: TypeSubscription, offered: PackedType
    ) -> Response | None:
        """Of these types only what changed is sent; absence means nothing."""
        if state.seen is offered and not state.asked:
            return None
        wanted = state.select(offered.resources)
        state.sent = {name: r for name, r in state.sent.items() if name in wanted}
        changed = {name: r for name, r in wanted.items() if state.sent.get(name) != r}
        waits = self._must_wait(type_url)
        if waits:
            changed = {name: r for name, r in changed.items() if name in state.unanswered}
        state.asked, state.seen = False, None if waits else offered
        state.unanswered.clear()
        if not changed:
            return None
        state.sent.update(changed)
        return self._send(type_url, state, offered.version, tuple(changed.values()))

    def _send(
        self,
        type_url: str,
        state: TypeSubscription,
        version: str,
        resources: tuple[PackedResource, ...],
        missing: tuple[str, ...] = (),
    ) -> Response:
        self._nonce += 1
        state.nonce, state.sent_version, state.in_flight = str(self._nonce), version, True
        state.sent_names = tuple(resource.name for resource in resources)
        state.asked = False
        state.unanswered.clear()
        return Response(
            type_url=type_url,
            version=version,
            nonce=state.nonce,
            resources=resources,
            missing=missing,
        )

    def _must_wait(self, type_url: str) -> bool:
        earlier = (self.types.get(other) for other in WAITS_FOR.get(type_url, ()))
        return any(state is not None and state.in_flight for state in earlier)

    def _kept(
        self, state: TypeSubscription, wanted: Mapping[str, PackedResource]
    ) -> dict[str, PackedResource]:
        """Clusters that are no more, but that the client's routes may still lead to."""
        gone = {n: r for n, r in state.sent.items() if n not in wanted and state.selects(n)}
        return gone if gone and not self._routes_are_settled() else {}

    def _routes_are_settled(self) -> bool:
        assert self._snapshot is not None
        for type_url in (LISTENER, ROUTE):
            state = self.types.get(type_url)
            if state is None:
                continue
            wanted = state.select(self._snapshot.types[type_url].resources)
            gone = type_url in COMPLETE and wanted.keys() != state.sent.keys()
            changed = any(state.sent.get(name) != r for name, r in wanted.items())
            if state.in_flight or gone or changed:
                return False
        return True


def _check(request: Request) -> None:
    if len(request.names) > MAX_NAMES:
        raise ExcessError(f"{len(request.names)} names in one request, at most {MAX_NAMES}")
    if any(len(name) > MAX_NAME_LENGTH for name in request.names):
        raise ExcessError(f"a resource name is longer than {MAX_NAME_LENGTH} characters")
