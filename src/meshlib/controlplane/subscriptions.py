"""One stream's subscriptions: requests and snapshots go in, responses come out. No I/O.

A response is pulled, never queued: a client that reads slowly is later sent the newest state,
and one response of a type is under way at most. What is kept per type (names, and the version
of every resource sent) does not know in which encoding of xDS it is spoken.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from ..model import Cluster, ClusterLoadAssignment, Eds
from ..xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from .discovery import DeltaRequest, ExcessError, Nack, Request, Response
from .type_subscription import TypeSubscription
from .versions import TYPES, PackedResource, PackedSnapshot, PackedType

COMPLETE = frozenset({LISTENER, CLUSTER})
"""A state-of-the-world response of these holds everything: what is absent does not exist."""
WAITS_FOR = {
    LISTENER: (CLUSTER, ENDPOINT),
    ROUTE: (CLUSTER, ENDPOINT, LISTENER),
}
"""A change of these is held back until the client has taken in what it may refer to.

Envoy acknowledges clusters only once they are warm, so that this is worth something.
"""
REMOVED_AFTER = {
    ROUTE: (LISTENER,),
    CLUSTER: (LISTENER, ROUTE),
    ENDPOINT: (CLUSTER, LISTENER, ROUTE),
}
"""What is gone is taken away last, when nothing that the client has may lead to it."""
MAX_NAMES = 10_000
MAX_NAME_LENGTH = 2048
MAX_TYPES = 32
WITH_CONTENT = 3
"""Each such word of what lives on has its content."""


class Subscriptions:
    """What one client asked for, was sent, and said to it.

    ``delta`` chooses the encoding: :class:`DeltaRequest` goes in, else :class:`Request`.
    ``tells_missing``: the client can be told, of any type, that a name does not exist.
    ``warms``: it waits for the endpoints of a cluster that changed, though they did not.
    While ``settling``, members may not have registered yet with a control plane that has just
    begun: who knows endpoints from the one before is not told meanwhile that there are none.
    ``may_part``: may a cluster be taken away that the client still asks for by its name? Clients
    acknowledge routes before they go by them, and give up the names that they are done with.
    """

    def __init__(
        self,
        *,
        delta: bool = False,
        tells_missing: bool = False,
        warms: bool = False,
        settling: Callable[[], bool] = lambda: False,
        may_part: Callable[[str], bool] = lambda _name: True,
    ) -> None:
        self.types: dict[str, TypeSubscription] = {}
        self.delta = delta
        self._tells_missing = tells_missing
        self._warms = warms
        self._settling = settling
        self._may_part = may_part
        self._snapshot: PackedSnapshot | None = None
        self._nonce = 0
        self._beats = 0

    def publish(self, snapshot: PackedSnapshot) -> None:
        """From now on this is what there is."""
        self._snapshot = snapshot
        for type_url, state in self.types.items():
            state.publish(snapshot.of(type_url))

    def receive(self, request: Request | DeltaRequest) -> Nack | None:
        """Take in a request; returns the refusal that it brings, if it does.

        Raises :class:`ExcessError` for one that asks for too much.
        """
        _check(request)
        state = self._state(request.type_url)
        if isinstance(request, DeltaRequest):
            # What is wanted counts, even where the nonce is that of an older response.
            nack = state.answer(request.error) if request.nonce == state.nonce != "" else None
            state.ask_delta(request)
        else:
            if request.nonce and state.nonce and request.nonce != state.nonce:
                return None  # about a response that is no longer the last: another will follow
            nack = state.answer(request.error) if request.nonce else None
            # Before the first response has come a nonce is as empty, and nothing begins anew.
            crosses = state.in_flight and not state.has_answered
            restarted = not request.nonce and not crosses
            state.in_flight = state.in_flight and not restarted
            state.ask(request, restarted=restarted)
        if len(state.names) > MAX_NAMES:
            raise ExcessError(f"{len(state.names)} names of one type, at most {MAX_NAMES}")
        return nack

    @property
    def is_due(self) -> bool:
        """Something is to be said, now or after an answer of the client."""
        return any(state.pending for state in self.types.values())

    def beat(self) -> bool:
        """Word is owed to the client of all that it would forget, if there is any."""
        self._beats += 1
        for state in self.types.values():
            state.beats = bool(state.living())
        return any(state.beats for state in self.types.values())

    def next_response(self) -> Response | None:
        """The response to send now, if any; it counts as sent."""
        if self._snapshot is None:
            return None
        for type_url in sorted(self.types, key=_rank):
            state = self.types[type_url]
            if state.in_flight:
                continue
            if state.pending or state.asked or state.unanswered:
                response = self._due(state, self._snapshot.of(type_url))
                if response is not None:
                    return response
            if state.beats and state.living():
                return self._heartbeat(state)
        return None

    def _state(self, type_url: str) -> TypeSubscription:
        state = self.types.get(type_url)
        if state is None:
            if len(self.types) >= MAX_TYPES:
                raise ExcessError(f"more than {MAX_TYPES} types on one stream")
            complete = type_url in COMPLETE
            state = TypeSubscription(
                type_url, legacy=complete, tells_removals=self.delta or complete
            )
            self.types[type_url] = state
            if self._snapshot is not None:
                state.publish(self._snapshot.of(type_url))
        return state

    def _due(self, state: TypeSubscription, offered: PackedType) -> Response | None:
        """What may be told now; what may not yet stays pending."""
        missing = state.unanswered - offered.resources.keys()
        if missing and self._is_replaced(REMOVED_AFTER.get(state.type_url, ())):
            # They were asked for on behalf of what is not in force any more. To hear that they do
            # not exist before hearing of what leads elsewhere would fail calls.
            if state.type_url in COMPLETE and not self.delta:
                return None
            missing = set()
        held = self._held(state, offered)
        new = {name for name in state.pending if name in offered.resources} - held
        gone = state.pending - new - held
        everything_asked = state.asked and state.wildcard
        if not everything_asked and self._is_under_way(WAITS_FOR.get(state.type_url, ())):
            new &= state.unanswered
        if not self._is_settled(REMOVED_AFTER.get(state.type_url, ())):
            gone = set()
        elif state.type_url == CLUSTER:
            gone = {name for name in gone if name not in state.names or self._may_part(name)}
        told = state.send(sorted(new))
        if self._warms and state.type_url == CLUSTER and ENDPOINT in self.types:
            self.types[ENDPOINT].send_again(map(_endpoints_of, told))
        state.send(gone)
        asked, state.asked = state.asked, False
        state.unanswered -= offered.resources.keys() | missing
        if self.delta:
            owed = bool(told or gone or missing or (asked and state.wildcard))
            return self._send(state, offered, told, removed=gone | missing) if owed else None
        if state.type_url not in COMPLETE:
            missing = missing if self._tells_missing else set()
            return self._send(state, offered, told, missing=missing) if told or missing else None
        if not (told or gone or asked):
            return None
        everything = tuple(state.sent[name] for name in sorted(state.sent))
        return self._send(
            state, offered, everything, missing=state.names - offered.resources.keys()
        )

    def _held(self, state: TypeSubscription, offered: PackedType) -> AbstractSet[str]:
        if state.type_url != ENDPOINT or not self._settling():
            return frozenset()
        return {
            name
            for name in state.pending & state.brought
            if (there := offered.resources.get(name)) is not None
            and isinstance(there.source, ClusterLoadAssignment)
            and not there.source.endpoints
        }

    def _heartbeat(self, state: TypeSubscription) -> Response:
        """Of the same version, and without what was sent before.

        With it where absence means removal, after a NACK, for Envoy, which refuses word without
        content of what it forgot meanwhile, and now and then for others that forgot.
        """
        state.beats = False
        living, version = state.living(), state.sent_version
        if not self.delta and state.type_url in COMPLETE:
            return self._numbered(state, version, tuple(state.sent[n] for n in sorted(state.sent)))
        if state.spurned or self._warms or not self._beats % WITH_CONTENT:
            return self._numbered(state, version, living)
        return self._numbered(state, version, (), beats=living)

    def _send(
        self,
        state: TypeSubscription,
        offered: PackedType,
        resources: tuple[PackedResource, ...],
        *,
        missing: AbstractSet[str] = frozenset(),
        removed: AbstractSet[str] = frozenset(),
    ) -> Response:
        kept = state.pending and state.type_url in COMPLETE and not self.delta
        version = f"{offered.version}+kept" if kept else offered.version
        return self._numbered(state, version, resources, missing=missing, removed=removed)

    def _numbered(
        self,
        state: TypeSubscription,
        version: str,
        resources: tuple[PackedResource, ...],
        *,
        missing: AbstractSet[str] = frozenset(),
        removed: AbstractSet[str] = frozenset(),
        beats: tuple[PackedResource, ...] = (),
    ) -> Response:
        self._nonce += 1
        state.sent_version, state.nonce, state.in_flight = version, str(self._nonce), True
        state.sent_names = tuple(resource.name for resource in (*resources, *beats))
        return Response(
            type_url=state.type_url,
            version=version,
            nonce=state.nonce,
            resources=resources,
            missing=tuple(sorted(missing)),
            removed=tuple(sorted(removed)),
            beats=beats,
        )

    def _is_under_way(self, type_urls: tuple[str, ...]) -> bool:
        states = (self.types.get(type_url) for type_url in type_urls)
        return any(state is not None and state.in_flight for state in states)

    def _is_replaced(self, type_urls: tuple[str, ...]) -> bool:
        """Is anything of these, of which the client has some, about to be other than it was?"""
        states = (self.types.get(type_url) for type_url in type_urls)
        return any(s is not None and s.nonce and not s.is_settled for s in states)

    def _is_settled(self, type_urls: tuple[str, ...]) -> bool:
        states = (self.types.get(type_url) for type_url in type_urls)
        return all(state is None or state.is_settled for state in states)


def _endpoints_of(cluster: PackedResource) -> str:
    """The name by which the client asks for them."""
    discovery = cluster.source.discovery if isinstance(cluster.source, Cluster) else None
    own = discovery.service_name if isinstance(discovery, Eds) else ""
    return own or cluster.name


def _rank(type_url: str) -> tuple[int, str]:
    return (TYPES.index(type_url), "") if type_url in TYPES else (len(TYPES), type_url)


def _check(request: Request | DeltaRequest) -> None:
    if isinstance(request, Request):
        names = request.names
    else:
        names = (*request.subscribe, *request.unsubscribe, *request.initial_versions)
    if len(names) > MAX_NAMES * (1 if isinstance(request, Request) else 3):
        raise ExcessError(f"{len(names)} names in one request, at most {MAX_NAMES}")
    if any(len(name) > MAX_NAME_LENGTH for name in names):
        raise ExcessError(f"a resource name is longer than {MAX_NAME_LENGTH} characters")
