"""Copies of calls for other clusters: sent for their own sake, and nobody minds the answer."""

from ..events import CallEnded, CallRecord
from ..message import Cause, Failure, Meter, Outcome, Request
from ..routing.destination import LiveMirror
from ..steps import Deliver, Send, Spawn, Steps
from ..upstream.cluster import UpstreamCluster
from .attempts import GONE, Surroundings, refusal, release

MAX_MIRRORED = 100
"""Copies under way at once, of all calls of this member of the mesh."""
MAX_SECONDS = 5.0
SUFFIX = "-shadow"


def mirrored(
    request: Request, record: CallRecord, deadline: float | None, around: Surroundings
) -> Steps[None]:
    """Send the copies that the route wants of this call; ``request`` is as the route makes it."""
    assert record.route is not None
    for mirror in record.route.mirrors:
        cluster = mirror.cluster
        if cluster is None or around.dice() >= mirror.share or around.mirrored >= MAX_MIRRORED:
            continue
        until = around.clock() + MAX_SECONDS
        if deadline is not None:
            until = min(until, deadline)
        yield Spawn(_copy(shadow_of(request, mirror), record, cluster, until, around))


def shadow_of(request: Request, mirror: LiveMirror) -> Request:
    """``reviews:9080`` becomes ``reviews-shadow:9080``, unless that is switched off."""
    authority = _shadow(request.authority or request.target) if mirror.suffix else request.authority
    made = request.altered(path=request.path, authority=authority, headers=request.headers)
    made.meter = Meter()  # who counts the call itself, or traces it, minds no copy
    return made


def _shadow(authority: str) -> str:
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdigit():
        return authority + SUFFIX
    return f"{host}{SUFFIX}:{port}"


def _copy(
    request: Request,
    original: CallRecord,
    cluster: UpstreamCluster,
    until: float,
    around: Surroundings,
) -> Steps[Outcome]:
    """One attempt, under the limits of its own cluster and none of the call's."""
    outcome: Outcome = GONE
    record = CallRecord(request, around.clock(), config_version=around.version, mirror=True)
    record.route, record.cluster = original.route, cluster
    around.mirrored += 1
    try:
        breaker = cluster.breaker
        timeout = until - around.clock()
        if around.mirrored > MAX_MIRRORED or breaker.is_open or breaker.must_wait:
            outcome = Failure(Cause.OVERFLOW, f"no room for a copy to {cluster.name}")
            yield Deliver(outcome, record)
        elif timeout <= 0 or (endpoint := cluster.pick()) is None:
            outcome = refusal(breaker, cluster, request, timeout, around)
            yield Deliver(outcome, record)
        else:
            record.endpoint, record.attempts, record.attempt_began = endpoint, 1, around.clock()
            endpoint.active += 1
            breaker.concurrency.active += 1
            try:
                answer = yield Send(request, endpoint, timeout)
                outcome = answer = (yield Deliver(answer, record)) or answer
                cluster.observe(endpoint, answer)
            finally:
                release(endpoint, breaker)
        return outcome
    finally:
        around.mirrored -= 1
        around.observe(CallEnded(record, outcome, around.clock() - record.started))
