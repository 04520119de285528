"""Attempts that begin, and are over, while their calls go on."""

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterator
from typing import Any, TypeVar

from ...clock import Clock
from ...dataplane import (
    FRAME,
    AttemptCancelled,
    AttemptFailed,
    CallRecord,
    Cause,
    Failure,
    Outcome,
    Request,
    StreamBegan,
    TriedAgain,
)
from .calls import LONGEST, OTHER, code_of, grpc_status_of
from .series import Series

METHODS = 200
"""gRPC methods of one direction that are told apart; further ones are ``other``."""
UNIMPLEMENTED = 12
GIVEN_UP = Failure(Cause.CANCELLED, grpc_status=1)
"""What comes of an attempt where another one has won."""

Stream = tuple[bool, str, str]
"""Those that are alike: whether they came in, their method, and their target."""
Failed = tuple[str, str, str, str]
"""By cluster, HTTP's status, gRPC's, and Envoy's flag."""
Event = StreamBegan | TriedAgain | AttemptFailed | AttemptCancelled
K = TypeVar("K")
V = TypeVar("V")


class Methods:
    """Names of gRPC methods, of both directions; those that nobody serves could be anything."""

    def __init__(self) -> None:
        self._known: tuple[set[str], set[str]] = (set(), set())

    def name(self, request: Request, outcome: Outcome | None, *, inbound: bool) -> str:
        """``None``: it is under way."""
        if not request.is_grpc:
            return ""
        method, known = request.path.lstrip("/"), self._known[inbound]
        if method not in known:
            unserved = outcome is not None and outcome.grpc_status == UNIMPLEMENTED
            if unserved or len(known) >= METHODS:
                return OTHER
            known.add(method)
        return method

    def keep(self, wanted: Collection[str], *, inbound: bool) -> None:
        self._known[inbound].intersection_update(wanted)


class Attempts:
    """``over``: of gRPC's attempts, by method, target, cluster and gRPC status.

    ``retries``: further attempts, by cluster and why. ``failed``: those that others followed.
    ``begun``: streams, which may go on for days, and ``streams`` those of them under way.
    """

    def __init__(self, methods: Methods, clock: Clock, most: int) -> None:
        self.over: dict[tuple[str, str, str, int], Series] = {}
        self.failed: Counter[Failed] = Counter()
        self.retries: Counter[tuple[str, str]] = Counter()
        self.streams: set[int] = set()
        self.begun: Counter[Stream] = Counter()
        self._methods = methods
        self._clock = clock
        self._most = most

    def __call__(self, event: Event) -> None:
        record = event.record
        request, cluster = record.request, record.cluster
        if record.mirror:
            return
        name = "" if cluster is None else cluster.name
        match event:
            case StreamBegan():
                self._begun(record)
            case TriedAgain(why=why):
                self.retries[name, why] += 1
            case AttemptFailed(outcome=outcome):
                self.failed[_failed(name, outcome, is_grpc=request.is_grpc)] += 1
                self._over(record, name, outcome, record.attempt_began)
            case AttemptCancelled(began=began):
                self._over(record, name, GIVEN_UP, began)

    def _begun(self, record: CallRecord) -> None:
        request, inbound = record.request, record.inbound
        if request.is_grpc:
            method = self._methods.name(request, None, inbound=inbound)
            target = "" if inbound else request.target[:LONGEST]
            key = inbound, method, target
            if key not in self.begun and len(self.begun) >= self._most:
                key = inbound, OTHER, "" if inbound else OTHER
            self.begun[key] += 1
            self.streams.add(id(record))

    def ends(self, record: CallRecord, series: Series) -> None:
        """Of a stream, if it was told of when it began."""
        key = id(record)
        if key in self.streams:
            self.streams.remove(key)
            series.streams += 1

    def _over(self, record: CallRecord, cluster: str, outcome: Outcome, began: float) -> None:
        request, status = record.request, grpc_status_of(outcome)
        if not request.is_grpc:
            return
        method = self._methods.name(request, outcome, inbound=False)
        key = method, request.target[:LONGEST], cluster, status
        series = self.over.get(key)
        if series is None:
            if len(self.over) >= self._most:
                key = OTHER, OTHER, OTHER, status
            series = self.over.setdefault(key, Series())
        self.ends(record, series)
        series.attempt(max(0.0, self._clock() - began))
        sent = received = 0
        if (meter := request.meter) is not None and not _is_unsent(outcome):
            sent = meter.request_bytes - FRAME * meter.request_messages
            if outcome is not GIVEN_UP:
                received = meter.response_bytes - FRAME * meter.response_messages
        series.weigh(sent, received)

    def clusters(self) -> Iterator[str]:
        """Of which anything is told."""
        for key in (*self.retries, *self.failed):
            yield key[0]
        for _, _, cluster, _ in list(self.over):
            if cluster != OTHER:
                yield cluster

    def forget(self, clusters: Container[str]) -> None:
        drop(self.over, lambda key: key[2] in clusters)
        drop(self.failed, lambda key: key[0] in clusters)
        drop(self.retries, lambda key: key[0] in clusters)


def drop(counted: dict[K, V], gone: Callable[[K], Any]) -> None:
    for key in [one for one in counted if gone(one)]:
        del counted[key]


def _failed(cluster: str, outcome: Outcome, *, is_grpc: bool) -> Failed:
    flags = ",".join(outcome.cause.flags) if isinstance(outcome, Failure) else "-"
    status = str(grpc_status_of(outcome)) if is_grpc else ""
    return cluster, str(code_of(outcome, is_grpc=is_grpc)), status, flags


def _is_unsent(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and outcome.cause is Cause.CONNECT
