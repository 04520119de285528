"""What all attempts have in common: what they need, their permits, and why there are none."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from ...clock import Clock, Dice
from ..events import (
    AttemptCancelled,
    AttemptFailed,
    CallRecord,
    Observer,
    RetryDenied,
    StreamBegan,
    TriedAgain,
    Tries,
)
from ..message import Cause, Failure, Headers, Outcome, Request
from ..steps import AwaitTurn, Effect
from ..upstream.circuit import CircuitBreaker
from ..upstream.cluster import UpstreamCluster
from ..upstream.endpoint import UpstreamEndpoint
from .terms import Terms

GONE = Failure(Cause.CANCELLED, "the caller went away")
ATTEMPT_COUNT = "x-envoy-attempt-count"


@dataclass(slots=True)
class Surroundings:
    """What every router shares: time, luck, an ear, and the version in force.

    ``wall`` is the time of day, in seconds since 1970: servers may name the moment at which they
    want to be called again. ``mirrored``: copies of calls under way.
    """

    clock: Clock
    dice: Dice
    observe: Observer
    wall: Clock
    version: str = ""
    blame: Callable[[], str] = str
    """Why configuration may be missing, in the words of its source."""
    why: Callable[[str, str], str] = lambda _room, _name: ""
    """What its source says of one resource: of "routes" or "clusters", by name; "": nothing."""
    outage: str = ""
    """Why nobody can be asked for configuration now; "" while somebody can."""
    mirrored: int = field(default=0)
    introduction: Headers = ()
    """What callers who introduce themselves are told of this member; nothing: nobody counts."""
    schemes: dict[str, str] = field(default_factory=dict)
    """Of targets that the application names with one; such as ``xds:///``."""

    def because(self, room: str, name: str) -> str:
        """What is added to the words of a failure (gRFC A88)."""
        reason = self.why(room, name)
        return f": {reason}" if reason else ""


@dataclass(slots=True)
class Call:
    """One call on its way: made where a first attempt alone does not do."""

    request: Request
    record: CallRecord
    terms: Terms
    cluster: UpstreamCluster
    breaker: CircuitBreaker
    deadline: float | None
    around: Surroundings

    @property
    def tries(self) -> Tries:
        tries = self.record.tries = self.record.tries or Tries()
        return tries

    def failed(self, outcome: Outcome, followed_by: str) -> None:
        self.tries.over(self.around.clock(), followed_by)
        self.around.observe(AttemptFailed(self.record, outcome, followed_by))

    def cancelled(self, began: float) -> None:
        self.tries.ended += 1
        self.around.observe(AttemptCancelled(self.record, began))

    def has_another(self, why: str, *, beside: bool) -> None:
        """One more attempt was begun, after its forerunners or beside them."""
        tries, began = self.tries, self.record.attempt_began
        tries.begun(why, 0.0 if beside else began - tries.since)
        self.around.observe(TriedAgain(self.record, why))

    def retries_are_exhausted(self) -> None:
        self.record.retries_exhausted = True
        self.around.observe(RetryDenied(self.cluster.name, "limit_exceeded"))

    def retries_overflow(self) -> None:
        self.record.flags += ("UO",)
        self.around.observe(RetryDenied(self.cluster.name, "overflow"))

    def ends_before(self, moment: float) -> bool:
        return self.deadline is not None and moment >= self.deadline

    @property
    def left(self) -> float | None:
        """Seconds until the call is over; ``None`` for no limit."""
        return None if self.deadline is None else self.deadline - self.around.clock()


def admitted(
    breaker: CircuitBreaker, record: CallRecord, deadline: float | None, clock: Clock
) -> Generator[Effect, Any, Failure | None]:
    """Wait for room where all connections are taken; or say why there is none.

    Who is let in counts itself before anything else can happen, or passes its turn on. Who lines
    up and goes away, for whatever reason, leaves the line or gives back its turn. gRPC's calls
    share a connection, whatever else the cluster speaks.
    """
    cluster = record.cluster
    assert cluster is not None
    if breaker.is_open:
        breaker.overflows += 1
        _not_made(cluster)
        limit = breaker.limits.max_requests
        return Failure(Cause.OVERFLOW, f"overflow: {limit} calls to {cluster.name} in flight")
    if record.request.is_grpc or not breaker.must_wait:
        return None
    turn = breaker.line_up()
    if turn is None:
        breaker.overflows += 1
        _not_made(cluster)
        limit = breaker.limits.max_pending_requests
        return Failure(Cause.OVERFLOW, f"overflow: {limit} calls to {cluster.name} in line")
    came = False
    try:
        yield AwaitTurn(turn, None if deadline is None else max(0.0, deadline - clock()))
        came = turn.granted
    finally:
        if not came:
            breaker.leave(turn)
    if not came:
        return too_late(record.request)
    breaker.concurrency.active -= 1
    return None


def release(endpoint: UpstreamEndpoint, breaker: CircuitBreaker) -> None:
    """Give a permit back; the next in line may have it."""
    endpoint.active -= 1
    breaker.concurrency.active -= 1
    counts = endpoint.counts
    if counts is not None:
        counts.finished += 1
    if breaker.waiting:
        breaker.next_turn()


def refusal(
    breaker: CircuitBreaker,
    cluster: UpstreamCluster,
    request: Request,
    timeout: float | None,
    around: Surroundings,
) -> Failure:
    """Why there is no attempt: no time, nobody there, or load is to be dropped."""
    if breaker.waiting:
        breaker.next_turn()
    if timeout is not None and timeout <= 0:
        return too_late(request)
    return _dropped(cluster) if cluster.balance.pickers else _nobody(cluster, around)


def too_late(request: Request) -> Failure:
    return Failure(Cause.TIMEOUT, f"no time left for {request.target}", grpc_status=4)


def _dropped(cluster: UpstreamCluster) -> Failure:
    """Whoever has endpoints picks one of them, but for the calls that are dropped."""
    if cluster.load is not None:
        cluster.load.dropped_for_overload()
    named = ", ".join(drop.category for drop in cluster.balance.assignment.drop_overloads)
    return Failure(Cause.DROP_OVERLOAD, f"{cluster.name} drops a share of its calls: {named}")


def _not_made(cluster: UpstreamCluster) -> None:
    if cluster.load is not None:
        cluster.load.dropped()


def _nobody(cluster: UpstreamCluster, around: Surroundings) -> Failure:
    known, name = len(cluster.balance.endpoints), cluster.name
    said = f"no healthy endpoint of {known} in {name}{around.because('clusters', name)}"
    return Failure(Cause.NO_ENDPOINT, said)


def begun(request: Request, record: CallRecord, terms: Terms, around: Surroundings) -> Request:
    """What is sent; those who watch hear of second tries, and of a stream before it is over."""
    tries = record.tries
    if tries is not None:
        tries.begun(tries.why, record.attempt_began - tries.since)
        around.observe(TriedAgain(record, tries.why))
    if request.streaming:
        around.observe(StreamBegan(record))
    return dressed(request, record) if terms.dresses else request


def dressed(request: Request, record: CallRecord) -> Request:
    """The request as this very endpoint gets it: its own name for a host, the attempt's number."""
    route, endpoint = record.route, record.endpoint
    assert route is not None
    assert endpoint is not None
    headers, authority = request.headers, request.authority
    if route.attempt_counts[0]:
        others = tuple(item for item in headers if item[0] != ATTEMPT_COUNT)
        headers = (*others, (ATTEMPT_COUNT, str(record.attempts)))
    hostname = endpoint.config.hostname
    if route.auto_host_rewrite and hostname:
        if route.forward is not None and route.forward.append_x_forwarded_host:
            headers = (*headers, ("x-forwarded-host", authority or request.target))
        authority = hostname
    return request.altered(path=request.path, authority=authority, headers=headers)
