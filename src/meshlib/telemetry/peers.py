"""Who calls, and who is called: for metrics alone, and never for a decision.

What a peer says of itself it may make up. Only principals are proven, by TLS; and those who prove
nothing can make neither much of what is kept, nor of what dashboards show.
"""

from collections.abc import Callable, Collection
from dataclasses import fields, replace

from ..dataplane import CallRecord, Outcome, Response
from ..dataplane.introduction import PEER_METADATA
from ..model.workload import NOT_KNOWN, UNKNOWN, PeerFacts, unpacked

__all__ = ["UNKNOWN", "PeerFacts", "Peers"]

Decode = Callable[[str], PeerFacts | None]
"""Of a header; ``None`` where it says nothing that can be read."""

DISTINCT = 1000
"""Different peers at most that are told apart: of those that the configuration names, and of others
with a principal."""
STRANGERS = 100
"""Of those without, who may make up what they like: of those who call, and of those who answer. So
nobody takes any from those who prove more."""
FULL = 0.9
"""Of a limit that is soon reached."""
KEPT = 2048
"""Texts whose meaning is remembered."""
LONGEST_PRINCIPAL = 300
SHORT = 63
"""Characters of a name that nobody proves: as many as a label of Kubernetes may have."""


Standing = int
TOLD, PROVEN, CALLS, ANSWERS = range(4)
"""Why to believe what is said of a peer: who configures this member says so; or a principal is
proven; or nothing is, of who calls or who answers."""
STRANGE = frozenset({CALLS, ANSWERS})
NAMES = tuple(one.name for one in fields(PeerFacts) if one.init)


def _unread(text: str) -> PeerFacts | None:
    return None


class Peers:
    """Asked under the mesh's lock. Equal peers are mostly the very same object.

    ``decode`` reads a header, as the composition root can; ``principal``: this member's own, as it
    is now.
    """

    def __init__(
        self,
        own: PeerFacts = UNKNOWN,
        *,
        decode: Decode = _unread,
        principal: Callable[[], str] = str,
    ) -> None:
        self._own = self._unproven = own
        self._decode = decode
        self._principal = principal
        self._read: dict[tuple[Standing, bool, str, str], PeerFacts] = {}
        self._known: dict[Standing, set[PeerFacts]] = {one: set() for one in range(4)}

    @property
    def own(self) -> PeerFacts:
        """This member, as it proves to be where it can."""
        principal = self._principal()
        if principal and principal != self._own.principal:
            self._own = replace(self._own, principal=principal)
        return self._own

    def source_of(self, record: CallRecord) -> PeerFacts:
        """Who made the call."""
        request = record.request
        meter, peer = request.meter, request.connection.peer
        if not record.inbound:
            return self.own if meter is not None and meter.secured else self._unproven
        said = "" if meter is None else meter.peer
        decode = unpacked if request.is_grpc else self._decode
        return self._named(said, peer.spiffe_id if peer.secure else "", decode, CALLS)

    def destination_of(self, record: CallRecord, outcome: Outcome | None = None) -> PeerFacts:
        """Who was called. What its endpoint says comes first, then what it answered itself."""
        if record.inbound:
            return self.own if record.request.connection.peer.secure else self._unproven
        meter, endpoint = record.request.meter, record.endpoint
        principal = "" if meter is None else meter.server_principal
        if endpoint is None:
            return self._answered(record, outcome)
        seen = endpoint.seen_as
        if seen is not None and seen[0] is endpoint.config and seen[1] == principal:
            found: PeerFacts = seen[2]
            return found
        told = endpoint.config.metadata.get("istio", "workload")
        if isinstance(told, str):
            named = self._named(told, principal, unpacked, TOLD)
            found = self._completed(named, record, outcome)
        else:
            found = self._answered(record, outcome)
        settled = record.request.is_grpc or (
            isinstance(told, str) and isinstance(outcome, Response)
        )
        if settled and found is not UNKNOWN:
            endpoint.seen_as = endpoint.config, principal, found
        return found

    def _answered(self, record: CallRecord, outcome: Outcome | None) -> PeerFacts:
        """With each answer of HTTP; over gRPC its endpoint was asked once."""
        meter, endpoint = record.request.meter, record.endpoint
        principal = "" if meter is None else meter.server_principal
        if record.request.is_grpc:
            said = "" if endpoint is None else endpoint.said
            return self._named(said, principal, unpacked, ANSWERS)
        header = outcome.header(PEER_METADATA) if isinstance(outcome, Response) else None
        return self._named(header or "", principal, self._decode, ANSWERS)

    def _completed(self, told: PeerFacts, record: CallRecord, outcome: Outcome | None) -> PeerFacts:
        """An endpoint that has labels but no name is called as it answers; else as its service."""
        if told is UNKNOWN or told.workload != NOT_KNOWN:
            return told
        name = self._answered(record, outcome).workload
        return replace(told, workload=told.canonical_service if name == NOT_KNOWN else name)

    def _named(self, said: str, principal: str, decode: Decode, standing: Standing) -> PeerFacts:
        if not said and not principal:
            return UNKNOWN
        key = standing, decode is unpacked, said, principal
        found = self._read.get(key)
        if found is None:
            facts = (decode(said) if said else None) or UNKNOWN
            if principal and standing != TOLD:
                standing = PROVEN
            found = self._told_apart(facts, principal, standing)
            if len(self._read) >= KEPT:
                del self._read[next(iter(self._read))]
            self._read[key] = found
        return found

    def _told_apart(self, said: PeerFacts, principal: str, standing: Standing) -> PeerFacts:
        if standing in STRANGE:
            said = _shortened(said)
        found = replace(said, principal=principal[:LONGEST_PRINCIPAL] or NOT_KNOWN)
        known = self._known[standing]
        if found not in known:
            if len(known) >= _most(standing):
                return UNKNOWN
            known.add(found)
        return found

    @property
    def crowded(self) -> frozenset[Standing]:
        """Where there is little room for further peers."""
        return frozenset(one for one in self._known if self._is_crowded(one))

    def _is_crowded(self, standing: Standing) -> bool:
        return len(self._known[standing]) >= FULL * _most(standing)

    def keep(self, wanted: Collection[PeerFacts]) -> None:
        """Make room: of all others nothing is counted any more. Under the lock, too."""
        self._read.clear()
        for known in self._known.values():
            known.intersection_update(wanted)


def _most(standing: Standing) -> int:
    return STRANGERS if standing in STRANGE else DISTINCT


def _shortened(said: PeerFacts) -> PeerFacts:
    return PeerFacts(**{name: getattr(said, name)[:SHORT] for name in NAMES})
