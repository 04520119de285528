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
from .chain import Service, stacked

GONE = Failure(Cause.CANCELLED, "the caller went away")
NO_WAIT: float | None = 0.0
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

    What leads to the first attempt is done at once, and what follows is one generator with few
    calls, since what a call pays for most is cold code: whatever happens seldom (filters, no
    route, a local answer, a second try) is asked of somebody else.
    """

    __slots__ = ("_around", "table")

    def __init__(self, table: RouteTable, around: Surroundings) -> None:
        self.table = table
        self._around = around

    def __call__(self, request: Request) -> Steps[Outcome]:
        around = self._around
        record = CallRecord(request, around.clock(), config_version=around.version)
        route = record.route = self.table.find(request)
        if route is None:
            return _counted(request, record, self._unbalanced, around)
        destination = record.destination = route.choose(around.dice)
        filters = route.filters if destination is None else destination.filters
        if destination is None or destination.balanced is None:
            return _counted(request, record, stacked(filters, self._unbalanced), around)
        if filters:
            return _counted(request, record, stacked(filters, self._behind_filters), around)
        return self._attempts(request, record, route, destination, destination.balanced)

    def _behind_filters(self, request: Request, record: CallRecord) -> Steps[Outcome]:
        route, destination = record.route, record.destination
        assert route is not None
        assert destination is not None
        assert destination.balanced is not None
        return self._attempts(
            request, record, route, destination, destination.balanced, counted=False
        )

    def _unbalanced(self, request: Request, record: CallRecord) -> Steps[Outcome]:
        return _unbalanced(request, record, self._around)

    def _attempts(  # noqa: PLR0915 - see above
        self,
        request: Request,
        record: CallRecord,
        route: LiveRoute,
        destination: Destination,
        cluster: UpstreamCluster,
        *,
        counted: bool = True,
    ) -> Steps[Outcome]:
        around, clock = self._around, self._around.clock
        outcome: Outcome = GONE
        again: Again | None = None
        try:
            record.cluster = cluster
            deadline = earlier(request.deadline, record.started, route.timeout(request))
            if destination.rewrite is not None:
                request = destination.rewrite(request)
            limits, in_flight = cluster.breaker.limits, cluster.breaker.concurrency
            timeout, wait = route.per_try_timeout, NO_WAIT
            while wait is not None:
                if wait:
                    yield Sleep(wait)
                if deadline is not None:
                    timeout = time_left(deadline, route.per_try_timeout, clock)
                if (
                    (timeout is not None and timeout <= 0)
                    or in_flight.active >= limits.max_requests
                    or (endpoint := cluster.pick(again.tried if again else ())) is None
                ):
                    outcome = yield from deliver(record, _refusal(cluster, request, timeout))
                    break
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
            return outcome
        finally:
            if again is not None:
                again.close()
            if counted:
                around.observe(CallEnded(record, outcome, clock() - record.started))


def _counted(
    request: Request, record: CallRecord, service: Service, around: Surroundings
) -> Steps[Outcome]:
    """A call that others than the attempts begin is ended here."""
    outcome: Outcome = GONE
    try:
        outcome = yield from service(request, record)
        return outcome
    finally:
        around.observe(CallEnded(record, outcome, around.clock() - record.started))


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


def _refusal(cluster: UpstreamCluster, request: Request, timeout: float | None) -> Failure:
    """Why there is no attempt: no time, no room, nobody there, or load is to be dropped."""
    if timeout is not None and timeout <= 0:
        return too_late(request)
    if cluster.breaker.is_open:
        return _overflow(cluster)
    return _dropped(cluster) if cluster.balance.pickers else _nobody(cluster)


def _unbalanced(request: Request, record: CallRecord, around: Surroundings) -> Steps[Outcome]:
    """No route, an answer of the mesh's own, or where the caller's own target leads.

    The last is Istio's PassthroughCluster: nothing is balanced, and nothing tried again.
    """
    route, destination = record.route, record.destination
    if route is None or destination is None:
        return (yield from deliver(record, local_answer(route, request)))
    record.cluster = destination.cluster
    if destination.cluster is None:
        unknown = Failure(Cause.NO_CLUSTER, f"no cluster {destination.name!r}")
        return (yield from deliver(record, unknown))
    deadline = earlier(request.deadline, record.started, route.timeout(request))
    timeout = None if deadline is None else time_left(deadline, None, around.clock)
    if timeout is not None and timeout <= 0:
        return (yield from deliver(record, too_late(request)))
    record.attempts += 1
    sent = request if destination.rewrite is None else destination.rewrite(request)
    outcome = yield Send(sent, None, timeout)
    return (yield from deliver(record, outcome))


def time_left(deadline: float, per_try: float | None, clock: Clock) -> float:
    """Seconds for the next attempt: the call's, or the try's own limit if that is less."""
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


def _dropped(cluster: UpstreamCluster) -> Failure:
    """Whoever has endpoints picks one of them, but for the calls that are dropped."""
    named = ", ".join(drop.category for drop in cluster.balance.assignment.drop_overloads)
    return Failure(Cause.DROP_OVERLOAD, f"{cluster.name} drops a share of its calls: {named}")


def _nobody(cluster: UpstreamCluster) -> Failure:
    known = len(cluster.balance.endpoints)
    return Failure(Cause.NO_ENDPOINT, f"no healthy endpoint of {known} in {cluster.name}")
