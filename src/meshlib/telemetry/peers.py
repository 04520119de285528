"""Who calls, and who is called: for metrics alone, and never for a decision.

What a peer says of itself it may make up. Only principals are proven, by TLS; and those who prove
nothing can make neither much of what is kept, nor of what dashboards show.
"""

from collections.abc import Callable
from dataclasses import replace

from ..dataplane import CallRecord, Outcome, Response
from ..dataplane.introduction import PEER_METADATA
from ..model.workload import NOT_KNOWN, UNKNOWN, PeerFacts, unpacked

__all__ = ["UNKNOWN", "PeerFacts", "Peers"]

Decode = Callable[[str], PeerFacts | None]
"""Of a header; ``None`` where it says nothing that can be read."""

DISTINCT = 1000
"""Different peers at most that are told apart: of those that the configuration names, of others
with a principal, and of those without. So nobody takes any from those who prove more."""
KEPT = 2048
"""Texts whose meaning is remembered."""
LONGEST_PRINCIPAL = 300


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
        self._read: dict[tuple[bool, bool, str, str], PeerFacts] = {}
        self._told: set[PeerFacts] = set()
        self._proven: set[PeerFacts] = set()
        self._said: set[PeerFacts] = set()

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
        return self._named(said, peer.spiffe_id if peer.secure else "", decode)

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
            named = self._named(told, principal, unpacked, told=True)
            found = self._completed(named, record, outcome)
        else:
            found = self._answered(record, outcome)
        if record.request.is_grpc or (isinstance(told, str) and isinstance(outcome, Response)):
            endpoint.seen_as = endpoint.config, principal, found
        return found

    def _answered(self, record: CallRecord, outcome: Outcome | None) -> PeerFacts:
        """With each answer of HTTP; over gRPC its endpoint was asked once."""
        meter, endpoint = record.request.meter, record.endpoint
        principal = "" if meter is None else meter.server_principal
        if record.request.is_grpc:
            return self._named("" if endpoint is None else endpoint.said, principal, unpacked)
        said = outcome.header(PEER_METADATA) if isinstance(outcome, Response) else None
        return self._named(said or "", principal, self._decode)

    def _completed(self, told: PeerFacts, record: CallRecord, outcome: Outcome | None) -> PeerFacts:
        """An endpoint that has labels but no name is called as it answers; else as its service."""
        if told.workload != NOT_KNOWN:
            return told
        name = self._answered(record, outcome).workload
        return replace(told, workload=told.canonical_service if name == NOT_KNOWN else name)

    def _named(self, said: str, principal: str, decode: Decode, *, told: bool = False) -> PeerFacts:
        """``told``: not by the peer, but by who configures this member."""
        if not said and not principal:
            return UNKNOWN
        key = told, decode is unpacked, said, principal
        found = self._read.get(key)
        if found is None:
            known = self._told if told else self._proven if principal else self._said
            facts = (decode(said) if said else None) or UNKNOWN
            found = _told_apart(facts, principal, known)
            if len(self._read) >= KEPT:
                del self._read[next(iter(self._read))]
            self._read[key] = found
        return found


def _told_apart(said: PeerFacts, principal: str, known: set[PeerFacts]) -> PeerFacts:
    found = replace(said, principal=principal[:LONGEST_PRINCIPAL] or NOT_KNOWN)
    if found not in known:
        if len(known) >= DISTINCT:
            return UNKNOWN
        known.add(found)
    return found
