"""The router: it owns the attempts. Permit, pick, send, judge, wait, again, or deliver."""

from collections.abc import Callable
from dataclasses import dataclass

from ...clock import Clock, Dice
from ...model import DirectResponseAction, RedirectAction
from ..events import AttemptFailed, CallEnded, CallRecord, Observer
from ..message import NOTHING_SENT, Cause, Failure, Outcome, Request, Response
from ..routing.redirect import redirect
from ..routing.rewrite import mutated
from ..routing.table import Destination, LiveRoute, RouteTable
from ..steps import Deliver, Send, Sleep, Steps
from ..upstream.cluster import UpstreamCluster
from ..upstream.endpoint import UpstreamEndpoint
from ..upstream.retry import backoff

GONE = Failure(Cause.CANCELLED, "the caller went away")
REPICKED = "another endpoint"
RETRIED = "retry"


@dataclass(slots=True)
class Surroundings:
    """What every router shares: time, luck, an ear, and the version in force."""

    clock: Clock
    dice: Dice
    observe: Observer
    version: str = ""
    blame: Callable[[], str] = str
    """Why configuration may be missing, in the words of its source."""


class Router:
    """A service: from a request to its steps.

    One generator and few calls, since what a call pays for most is cold code: whatever happens
    seldom (no route, a local answer, a second try) is asked of somebody else.
    """

    __slots__ = ("_around", "table")

    def __init__(self, table: RouteTable, around: Surroundings) -> None:
        self.table = table
        self._around = around

    def __call__(self, request: Request) -> Steps[Outcome]:  # noqa: PLR0915 - see below
        around = self._around
        clock = around.clock
        record = CallRecord(request, clock(), config_version=around.version)
        outcome: Outcome = GONE
        again: Again | None = None
        try:
            route = record.route = self.table.find(request)
            if route is None or route.forward is None:
                outcome = yield from deliver(record, local_answer(route, request))
                return outcome
            destination = route.choose(around.dice)
            cluster = record.cluster = destination.cluster
            deadline = earlier(request.deadline, record.started, route.timeout(request))
            if destination.rewrite is not None:
                request = destination.rewrite(request)
            if cluster is None or cluster.passthrough:
                outcome = yield from _elsewhere(record, request, destination, deadline, clock)
                return outcome
            in_flight = cluster.breaker.concurrency
            while True:
                timeout = time_left(deadline, route.per_try_timeout, clock)
                endpoint = _place(cluster, request, timeout, again)
                if isinstance(endpoint, Failure):
                    outcome = yield from deliver(record, endpoint)
                    return outcome
                record.endpoint = endpoint
                record.attempts += 1
                endpoint.active += 1
                in_flight.active += 1
                try:
                    answer = yield Send(request, endpoint, timeout)
                    wait = None
                    if not route.is_final(answer):
                        again = again or Again(record, route, cluster, request, deadline, around)
                        wait = again.wait(answer, endpoint)
                    if wait is None:
                        outcome = answer = (yield Deliver(answer, record)) or answer
                    cluster.observe(endpoint, answer)
                finally:
                    endpoint.active -= 1
                    in_flight.active -= 1
                if wait is None:
                    return outcome
                if wait:
                    yield Sleep(wait)
        finally:
            if again is not None:
                again.close()
            around.observe(CallEnded(record, outcome, clock() - record.started))


class Again:
    """Second tries of one call: made when the first attempt did not do.

    Holds one retry permit of the cluster from the first retry to the end of the call.
    """

    __slots__ = (
        "_around",
        "_cluster",
        "_deadline",
        "_record",
        "_request",
        "_retries",
        "_route",
        "tried",
    )

    def __init__(
        self,
        record: CallRecord,
        route: LiveRoute,
        cluster: UpstreamCluster,
        request: Request,
        deadline: float | None,
        around: Surroundings,
    ) -> None:
        self._record = record
        self._route = route
        self._cluster = cluster
        self._request = request
        self._deadline = deadline
        self._around = around
        self._retries = 0
        self.tried: list[UpstreamEndpoint] = []

    def wait(self, outcome: Outcome, endpoint: UpstreamEndpoint) -> float | None:
        """Seconds to wait before another attempt; ``None``: this was the last."""
        nothing_sent = isinstance(outcome, Failure) and outcome.cause in NOTHING_SENT
        if nothing_sent:
            self.tried.append(endpoint)
            if self._cluster.has_untried(self.tried):
                return self._told(0.0, REPICKED, outcome)
        rule = self._route.retry
        if rule is None or not rule.wants(outcome):
            return None
        if not (nothing_sent or self._request.replayable):
            return None
        if self._retries >= rule.policy.num_retries:
            self._record.retries_exhausted = True
            return None
        breaker = self._cluster.breaker
        if not breaker.may_retry(again=self._retries > 0):
            return None
        pause = backoff(rule.policy, self._retries + 1, self._around.dice())
        if self._deadline is not None and self._around.clock() + pause >= self._deadline:
            return None
        if not self._retries:
            breaker.concurrency.retries += 1
        self._retries += 1
        self.tried.append(endpoint)
        if not (rule.policy.previous_hosts and self._cluster.has_untried(self.tried)):
            self.tried.clear()
        return self._told(pause, RETRIED, outcome)

    def _told(self, pause: float, why: str, outcome: Outcome) -> float:
        self._around.observe(AttemptFailed(self._record, outcome, why))
        return pause

    def close(self) -> None:
        if self._retries:
            self._cluster.breaker.concurrency.retries -= 1


def _place(
    cluster: UpstreamCluster, request: Request, timeout: float | None, again: Again | None
) -> UpstreamEndpoint | Failure:
    """Where the next attempt goes, or why there is none."""
    if timeout is not None and timeout <= 0:
        return too_late(request)
    if cluster.breaker.is_open:
        return _overflow(cluster)
    return cluster.pick(again.tried if again else ()) or _nobody(cluster)


def _elsewhere(
    record: CallRecord,
    request: Request,
    destination: Destination,
    deadline: float | None,
    clock: Clock,
) -> Steps[Outcome]:
    """Where the caller's own target leads (Istio's PassthroughCluster)."""
    if destination.cluster is None:
        unknown = Failure(Cause.NO_CLUSTER, f"no cluster {destination.name!r}")
        return (yield from deliver(record, unknown))
    timeout = time_left(deadline, None, clock)
    if timeout is not None and timeout <= 0:
        return (yield from deliver(record, too_late(request)))
    record.attempts += 1
    outcome = yield Send(request, None, timeout)
    return (yield from deliver(record, outcome))


def time_left(deadline: float | None, per_try: float | None, clock: Clock) -> float | None:
    """Seconds for the next attempt: the call's, or the try's own limit if that is less."""
    if deadline is None:
        return per_try
    left = deadline - clock()
    return left if per_try is None else min(left, per_try)


def deliver(record: CallRecord, outcome: Outcome) -> Steps[Outcome]:
    """Hand over what there is; the end of its body is the end of the call."""
    end: Outcome | None = yield Deliver(outcome, record)
    return end or outcome


def earlier(deadline: float | None, started: float, timeout: float | None) -> float | None:
    """The caller's deadline is never lengthened, only shortened."""
    if timeout is None:
        return deadline
    limit = started + timeout
    return limit if deadline is None else min(deadline, limit)


def local_answer(route: LiveRoute | None, request: Request) -> Outcome:
    """What a route without destination answers by itself, or none at all."""
    if route is None:
        return _no_route(request)
    match route.config.action:
        case DirectResponseAction(status=status, body=body):
            described = (("content-length", str(len(body))), ("content-type", "text/plain"))
            made = Response(status, described if body else (), body=body)
        case RedirectAction() as action:
            location = redirect(action, route.config.match, request)
            made = Response(action.response_code, (("location", location),))
        case _:
            return Failure(Cause.NO_ROUTE, f"route {route.config.name!r} does not forward")
    made.headers = mutated(made.headers, route.response_mutations)
    return made


def _no_route(request: Request) -> Failure:
    host = request.authority or request.target
    return Failure(Cause.NO_ROUTE, f"no route for {request.method} {host}{request.path}")


def too_late(request: Request) -> Failure:
    return Failure(Cause.TIMEOUT, f"no time left for {request.target}", grpc_status=4)


def _overflow(cluster: UpstreamCluster) -> Failure:
    limit = cluster.breaker.limits.max_requests
    return Failure(Cause.OVERFLOW, f"overflow: {limit} calls to {cluster.name} in flight")


def _nobody(cluster: UpstreamCluster) -> Failure:
    known = len(cluster.balance.endpoints)
    return Failure(Cause.NO_ENDPOINT, f"no healthy endpoint of {known} in {cluster.name}")
