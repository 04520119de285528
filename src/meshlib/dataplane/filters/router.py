"""The router: it owns the attempts. Permit, pick, send, judge, wait, again, or deliver."""

from ..events import CallEnded, CallRecord
from ..message import Cause, Failure, Headers, Outcome, Override, Request, Response
from ..routing.table import Destination, LiveRoute, RouteTable
from ..steps import Deliver, Send, Sleep, Steps, deliver
from ..upstream.cluster import UpstreamCluster
from .again import Again
from .attempts import (
    ATTEMPT_COUNT,
    GONE,
    Call,
    Surroundings,
    admitted,
    dressed,
    refusal,
    time_left,
    too_late,
)
from .chain import Service, stacked
from .hedge import hedged
from .mirror import mirrored
from .terms import Terms, is_safe

__all__ = ["Router", "Surroundings", "deliver", "local_answer", "too_late"]

MEMO_SIZE = 1024
NO_WAIT: float | None = 0.0
NOT_FOUND = 503


class Router:
    """A service: from a request to its steps.

    What leads to the first attempt is done at once, and what follows is one generator with few
    calls, since what a call pays for most is cold code: whatever happens seldom (filters, no
    route, a local answer, a second try, attempts beside each other) is asked of somebody else.
    """

    __slots__ = ("_around", "_overridden", "table")

    def __init__(self, table: RouteTable, around: Surroundings) -> None:
        self.table = table
        self._around = around
        self._overridden: dict[tuple[LiveRoute, Override, bool], Terms] = {}

    def __call__(self, request: Request) -> Steps[Outcome]:
        around = self._around
        record = CallRecord(request, around.clock(), config_version=around.version)
        route = record.route = self.table.find(request)
        if route is None:
            return _counted(request, record, self._unbalanced, around)
        destination = route.only_destination or route.choose(around.dice, request, record)
        record.destination = destination
        if destination is None:
            return _counted(request, record, stacked(route.filters, self._unbalanced), around)
        filters = destination.filters
        if destination.balanced is None:
            return _counted(request, record, stacked(filters, self._unbalanced), around)
        terms = route.terms
        if request.override is not None:
            terms = self._terms_of(route, request)
        if filters or not terms.is_plain:
            _tell_of_answers(request, record, route, destination)
            return _counted(request, record, stacked(filters, self._onward), around)
        return self._attempts(request, record, terms, destination, destination.balanced)

    def _terms_of(self, route: LiveRoute, request: Request) -> Terms:
        override = request.override
        if override is None:
            return route.terms
        key = route, override, is_safe(request)
        found = self._overridden.get(key)
        if found is None:
            if len(self._overridden) >= MEMO_SIZE:
                self._overridden.clear()
            found = self._overridden[key] = Terms.overridden(route, override, safe=key[2])
        return found

    def _onward(self, request: Request, record: CallRecord) -> Steps[Outcome]:
        """Behind the filters, or where there is more to a call than one attempt after the other."""
        route, destination = record.route, record.destination
        assert route is not None
        assert destination is not None
        assert destination.balanced is not None
        terms = self._terms_of(route, request)
        may_be_copied = request.replayable and not request.streaming
        if may_be_copied and (terms.hedge is not None or route.mirrors):
            return self._beside(request, record, terms, destination)
        cluster = destination.balanced
        return self._attempts(request, record, terms, destination, cluster, counted=False)

    def _beside(
        self, request: Request, record: CallRecord, terms: Terms, destination: Destination
    ) -> Steps[Outcome]:
        """Copies for others, and attempts beside each other."""
        cluster, route, around = destination.balanced, terms.route, self._around
        assert cluster is not None
        record.cluster = cluster
        deadline = terms.deadline(request, record.started + record.held)
        sent = request if destination.rewrite is None else destination.rewrite(request, record)
        yield from mirrored(sent, record, deadline, around)
        if terms.hedge is None:
            return (
                yield from self._attempts(
                    request, record, terms, destination, cluster, counted=False
                )
            )
        breaker = cluster.high if terms.is_high else cluster.breaker
        call = Call(sent, record, terms, cluster, breaker, deadline, around)
        key = route.hash_key(sent, record) if cluster.balance.hashes else None
        return (yield from hedged(call, key))

    def _unbalanced(self, request: Request, record: CallRecord) -> Steps[Outcome]:
        """No route, an answer of the mesh's own, or where the caller's own target leads.

        The last is Istio's PassthroughCluster: nothing is balanced, and nothing tried again.
        """
        route, destination = record.route, record.destination
        if route is None or destination is None:
            return (yield from deliver(record, local_answer(route, request, record)))
        record.cluster = destination.cluster
        if destination.cluster is None:
            return (yield from deliver(record, _no_cluster(route, destination, request, record)))
        _tell_of_answers(request, record, route, destination)
        clock = self._around.clock
        deadline = self._terms_of(route, request).deadline(request, record.started + record.held)
        timeout = None if deadline is None else time_left(deadline, None, clock)
        if timeout is not None and timeout <= 0:
            return (yield from deliver(record, too_late(request)))
        record.attempts += 1
        sent = request if destination.rewrite is None else destination.rewrite(request, record)
        outcome = yield Send(sent, None, timeout)
        return (yield from deliver(record, outcome))

    def _attempts(  # noqa: C901, PLR0912, PLR0915 - see above
        self,
        request: Request,
        record: CallRecord,
        terms: Terms,
        destination: Destination,
        cluster: UpstreamCluster,
        *,
        counted: bool = True,
    ) -> Steps[Outcome]:
        around, clock = self._around, self._around.clock
        outcome: Outcome = GONE
        refused: Failure | None = None
        again: Again | None = None
        try:
            record.cluster = cluster
            started = record.started if counted else record.started + record.held
            deadline = terms.deadline(request, started)
            if destination.rewrite is not None:
                request = destination.rewrite(request, record)
            key = terms.route.hash_key(request, record) if cluster.balance.hashes else None
            breaker = cluster.high if terms.is_high else cluster.breaker
            limits, in_flight = breaker.limits, breaker.concurrency
            timeout = per_try = None if request.streaming else terms.per_try_timeout
            wait = NO_WAIT
            while wait is not None:
                if wait:
                    yield Sleep(wait)
                active = in_flight.active
                if (
                    active < limits.max_requests
                    and active < breaker.connections
                    and not breaker.waiting
                ):
                    in_flight.active = active + 1
                elif refused := (yield from admitted(breaker, record, deadline, clock)):
                    break
                try:
                    if deadline is not None:
                        timeout = time_left(deadline, per_try, clock)
                    endpoint = None
                    if timeout is None or timeout > 0:
                        endpoint = again.pick(key) if again else cluster.pick((), key)
                    if endpoint is None:
                        refused = refusal(cluster, request, timeout)
                        break
                    record.endpoint = endpoint
                    record.attempts += 1
                    endpoint.active += 1
                    try:
                        sent = dressed(request, record) if terms.dresses else request
                        answer = yield Send(sent, endpoint, timeout)
                        wait = None
                        if not terms.is_final(answer):
                            again = again or Again(
                                Call(request, record, terms, cluster, breaker, deadline, around)
                            )
                            wait = again.wait(answer, endpoint)
                        if wait is None:
                            outcome = answer = (yield Deliver(answer, record)) or answer
                        cluster.observe(endpoint, answer)
                    finally:
                        endpoint.active -= 1
                finally:
                    in_flight.active -= 1
                    if breaker.waiting:
                        breaker.next_turn()
            if refused is not None:
                outcome = yield from deliver(record, refused)
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


def _tell_of_answers(
    request: Request, record: CallRecord, route: LiveRoute, destination: Destination
) -> None:
    """What the route makes of response headers, before any filter does."""
    if route.attempt_counts[1]:

        def count(headers: Headers) -> Headers:
            others = tuple(item for item in headers if item[0] != ATTEMPT_COUNT)
            return (*others, (ATTEMPT_COUNT, str(record.attempts)))

        record.responds(count)
    respond = destination.respond
    if respond is not None:
        record.responds(lambda headers: respond(request, record, headers))


def local_answer(
    route: LiveRoute | None, request: Request, record: CallRecord | None = None
) -> Outcome:
    """What a route without destination answers by itself, or none at all."""
    return _no_route(request) if route is None else route.answer(request, record)


def _no_route(request: Request) -> Failure:
    host = request.authority or request.target
    return Failure(Cause.NO_ROUTE, f"no route for {request.method} {host}{request.path}")


def _no_cluster(
    route: LiveRoute, destination: Destination, request: Request, record: CallRecord
) -> Outcome:
    """A failure, or the status of the route's ``cluster_not_found_response_code``."""
    status = NOT_FOUND if route.forward is None else route.forward.cluster_not_found_response_code
    if status == NOT_FOUND or request.is_grpc:
        return Failure(Cause.NO_CLUSTER, f"no cluster {destination.name!r}")
    record.flags += Cause.NO_CLUSTER.flags
    respond = destination.respond
    return Response(status, () if respond is None else respond(request, record, ()))
