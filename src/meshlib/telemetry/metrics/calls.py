"""Which calls are alike: what the labels of metrics are made of."""

from dataclasses import dataclass
from typing import Protocol

from ...dataplane import CallRecord, Cause, Failure, Outcome
from ...dataplane.statuses import DEADLINE_EXCEEDED, UNAVAILABLE
from ..attributes import response_code
from ..details import flags_of
from ..peers import UNKNOWN as NOBODY
from ..peers import PeerFacts

UNKNOWN = "unknown"
OTHER = "other"
BLACK_HOLE, PASSTHROUGH = "BlackHoleCluster", "PassthroughCluster"
LONGEST = 100
"""Characters of one value that somebody else than this member's configuration says."""

GRPC_STATUSES = {
    Cause.TIMEOUT: DEADLINE_EXCEEDED,
    Cause.DEADLINE: DEADLINE_EXCEEDED,
    Cause.CANCELLED: 1,
    Cause.LOCAL: 13,
}
NOWHERE = frozenset({Cause.NO_ROUTE, Cause.NO_CLUSTER, Cause.NO_CONFIG, Cause.LOCAL})


class Peers(Protocol):
    """Who takes part in a call; asked under the mesh's lock."""

    def source_of(self, record: CallRecord) -> PeerFacts: ...

    def destination_of(self, record: CallRecord, outcome: Outcome | None = None) -> PeerFacts: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of call. ``answer`` is an HTTP status, or the flags of a failure.

    ``status`` is gRPC's, ``None`` for HTTP; ``told`` what the library said of it; ``method`` is ""
    for HTTP; ``tags`` are the values that a configuration adds.
    """

    inbound: bool
    is_grpc: bool
    cluster: str
    target: str
    method: str
    answer: int | str
    told: int | None
    code: str
    status: int | None
    flags: str
    secure: bool
    host: str
    source: PeerFacts
    destination: PeerFacts
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """A service as Istio's labels name it."""

    host: str = UNKNOWN
    name: str = UNKNOWN
    namespace: str = UNKNOWN


def kind_of(
    record: CallRecord,
    outcome: Outcome,
    *,
    peers: Peers,
    own_host: str,
    method: str,
    tags: tuple[str, ...] = (),
) -> Kind:
    request, cluster, inbound = record.request, record.cluster, record.inbound
    failure = outcome if isinstance(outcome, Failure) else None
    status = None
    if request.is_grpc:
        status = grpc_status_of(outcome)
    answer = outcome.cause.value if isinstance(outcome, Failure) else outcome.status
    return Kind(
        inbound=inbound,
        is_grpc=request.is_grpc,
        cluster="" if cluster is None else cluster.name,
        target="" if inbound else request.target[:LONGEST],
        method=method,
        answer=answer,
        told=outcome.grpc_status,
        code=str(code_of(outcome, is_grpc=request.is_grpc)),
        status=status,
        flags=",".join(flags_of(record, outcome)) or "-",
        secure=request.connection.peer.secure,
        host=own_host if inbound else _called(record, failure),
        source=peers.source_of(record),
        destination=peers.destination_of(record, outcome),
        tags=tags,
    )


def is_strange(kind: Kind) -> bool:
    """Does it say who called, and nobody proves that?"""
    source = kind.source
    return kind.inbound and source.principal == UNKNOWN and source != NOBODY


def grpc_status_of(outcome: Outcome) -> int:
    """What a gRPC caller is told."""
    if outcome.grpc_status is not None:
        return outcome.grpc_status
    if isinstance(outcome, Failure):
        return GRPC_STATUSES.get(outcome.cause, UNAVAILABLE)
    return 0 if outcome.status == 200 else 2


def code_of(outcome: Outcome, *, is_grpc: bool) -> int:
    """Of gRPC, Envoy's own answers are 200 too; 0 is for who was gone before there was one."""
    if is_grpc and isinstance(outcome, Failure) and outcome.cause is not Cause.CANCELLED:
        return 200
    return response_code(outcome)


def _called(record: CallRecord, failure: Failure | None) -> str:
    """The host of the service that was called, or Istio's name for calls that leave the mesh."""
    if record.cluster is not None:
        return record.cluster.name
    if failure is not None and failure.cause is Cause.BLOCKED:
        return BLACK_HOLE
    if record.route is None and (failure is None or failure.cause not in NOWHERE):
        return PASSTHROUGH
    return ""


def service_of(kind: Kind, *, falls_back: bool = True) -> Service:
    """``falls_back``: where no configuration names the service, the host that was asked does."""
    asked = kind.target.rpartition(":")[0] if falls_back and kind.target else ""
    if kind.host in (BLACK_HOLE, PASSTHROUGH):
        return Service(asked or UNKNOWN, kind.host, kind.destination.namespace)
    host = kind.host.rpartition("|")[2] or asked
    if not host:
        return Service()
    name, dot, rest = host.partition(".")
    namespace, service = rest.partition(".")[::2]
    if dot and service.startswith("svc."):
        return Service(host, name, namespace)
    return Service(host, host, kind.destination.namespace)
