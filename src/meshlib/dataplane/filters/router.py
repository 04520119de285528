"""The router: it owns the attempts. Permit, pick, send, judge, wait, again, or deliver."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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

_NOTHING = nullcontext()
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
    """A service: from a request to its steps."""

    __slots__ = ("_around", "table")

    def __init__(self, table: RouteTable, around: Surroundings) -> None:
        self.table = table
        self._around = around

    def __call__(self, request: Request) -> Steps[Outcome]:
        around = self._around
        record = CallRecord(request, around.clock(), config_version=around.version)
        outcome: Outcome = Failure(Cause.CANCELLED, "the caller went away")
        try:
            route = record.route = self.table.find(request)
            if route is None:
                outcome = yield from deliver(record, _no_route(request))
            elif route.forward is None:
                outcome = yield from deliver(record, local_answer(route, request))
            else:
                outcome = yield from self._forward(record, route, route.choose(around.dice))
            return outcome
        finally:
            around.observe(CallEnded(record, outcome, around.clock() - record.started))

    def _forward(
        self, record: CallRecord, route: LiveRoute, destination: Destination
    ) -> Steps[Outcome]:
        """No generator of its own: a call should not pass through more of them than it needs."""
        cluster = record.cluster = destination.cluster
        if cluster is None:
            unknown = Failure(Cause.NO_CLUSTER, f"no cluster {destination.name!r}")
            return deliver(record, unknown)
        request = record.request
        deadline = earlier(request.deadline, record.started, route.timeout(request))
        if destination.rewrite is not None:
            request = destination.rewrite(request)
        call = _Call(record, route, cluster, request, deadline, self._around)
        return call.elsewhere() if cluster.passthrough else call.attempts()


@dataclass(slots=True)
class _Call:
    """One call on its way to one cluster."""

    record: CallRecord
    route: LiveRoute
    cluster: UpstreamCluster
    request: Request
    deadline: float | None
    around: Surroundings
    retries: int = 0

    def attempts(self) -> Steps[Outcome]:
        cluster, record = self.cluster, self.record
        tried: list[UpstreamEndpoint] = []
        wait = 0.0
        held: AbstractContextManager[None] = _NOTHING
        while True:
            with held:
                if wait:
                    yield Sleep(wait)
                timeout = self.time_left()
                if timeout is not None and timeout <= 0:
                    return (yield from deliver(record, too_late(self.request)))
                if cluster.breaker.is_open:
                    return (yield from deliver(record, _overflow(cluster)))
                endpoint = cluster.pick(tried)
                if endpoint is None:
                    return (yield from deliver(record, _nobody(cluster)))
                record.endpoint = endpoint
                record.attempts += 1
                with endpoint.permit:
                    outcome = yield Send(self.request, endpoint, timeout)
                    again = self.again(outcome, endpoint, tried)
                    if again is None:
                        end: Outcome = (yield Deliver(outcome, record)) or outcome
                        cluster.observe(endpoint, end)
                        return end
                    cluster.observe(endpoint, outcome)
            wait, why = again
            if why is RETRIED:
                held = cluster.breaker.retry_permit
            self.around.observe(AttemptFailed(record, outcome, why))

    def elsewhere(self) -> Steps[Outcome]:
        """Where the caller's own target leads (Istio's PassthroughCluster)."""
        timeout = self.time_left()
        if timeout is not None and timeout <= 0:
            return (yield from deliver(self.record, too_late(self.request)))
        self.record.attempts += 1
        outcome = yield Send(self.request, None, timeout)
        return (yield from deliver(self.record, outcome))

    def time_left(self) -> float | None:
        """Seconds for the next attempt: the call's, or the try's own limit if that is less."""
        rule = self.route.retry
        per_try = rule.policy.per_try_timeout if rule is not None else None
        if self.deadline is None:
            return per_try or None
        left = self.deadline - self.around.clock()
        return min(left, per_try) if per_try else left

    def again(
        self, outcome: Outcome, endpoint: UpstreamEndpoint, tried: list[UpstreamEndpoint]
    ) -> tuple[float, str] | None:
        """How long to wait before another attempt, and of which kind; ``None``: this was it."""
        nothing_sent = isinstance(outcome, Failure) and outcome.cause in NOTHING_SENT
        if nothing_sent:
            tried.append(endpoint)
            if self.cluster.has_untried(tried):
                return 0.0, REPICKED
        rule = self.route.retry
        if rule is None or not rule.wants(outcome):
            return None
        if not (nothing_sent or self.request.replayable):
            return None
        if self.retries >= rule.policy.num_retries:
            self.record.retries_exhausted = True
            return None
        if not self.cluster.breaker.may_retry(again=self.retries > 0):
            return None
        return self._retry(rule.policy.previous_hosts, endpoint, tried)

    def _retry(
        self, avoid: bool, endpoint: UpstreamEndpoint, tried: list[UpstreamEndpoint]
    ) -> tuple[float, str] | None:
        rule = self.route.retry
        assert rule is not None
        wait = backoff(rule.policy, self.retries + 1, self.around.dice())
        if self.deadline is not None and self.around.clock() + wait >= self.deadline:
            return None
        self.retries += 1
        tried.append(endpoint)
        if not avoid or not self.cluster.has_untried(tried):
            tried.clear()
        return wait, RETRIED


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


def local_answer(route: LiveRoute, request: Request) -> Outcome:
    """What a route without destination answers by itself."""
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
