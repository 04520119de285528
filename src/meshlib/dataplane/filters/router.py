"""The router: it owns the attempts. Permit, pick, send, judge, wait, again, or deliver."""

from typing import Any

from ..events import CallEnded, CallRecord, Event, Observer, StreamBegan
from ..message import Cause, Failure, Headers, Outcome, Override, Request, Response
from ..routing.table import Destination, LiveRoute, RouteTable
from ..steps import Deliver, Send, Sleep, Steps, deliver
from ..upstream.transport import is_secured
from .again import Again
from .attempts import (
    ATTEMPT_COUNT,
    GONE,
    Call,
    Surroundings,
    admitted,
    begun,
    refusal,
    release,
    too_late,
)
from .chain import Service, stacked
from .hedge import hedged
from .mirror import mirrored
from .terms import Terms, is_safe

__all__ = ["Router", "Surroundings", "deliver", "too_late"]

MEMO_SIZE = 1024
NO_WAIT: float | None = 0.0
NOT_FOUND = 503
UNSECURED = "where the caller's own target leads, nobody can be verified as the cluster wants it"


class Router:
    """A service: from a request to its steps.

    What leads to the first attempt is done at once, and what follows is one generator with few
    calls, since what a call pays for most is cold code: whatever happens seldom (filters, no
    route, a local answer, a second try, attempts beside each other) is asked of somebody else.
    """

    __slots__ = ("_around", "_overridden", "audience", "table")

    def __init__(self, table: RouteTable, around: Surroundings, audience: Any = None) -> None:
        self.table = table
        self.audience = audience
        self._around = around
        self._overridden: dict[tuple[LiveRoute, Override, bool], Terms] = {}

    def __call__(self, request: Request) -> Steps[Outcome]:
        around = self._around
        record = CallRecord(request, around.clock(), config_version=around.version)
        record.audience = self.audience
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
            return _counted(request, record, stacked(filters, self._onward), around)
        record.cluster = destination.balanced
        if destination.rewrite is not None:
            request = destination.rewrite(request, record)
        return self._attempts(request, record, terms, around.observe)

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
        _tell_of_answers(request, record, route, destination)
        terms = self._terms_of(route, request)
        record.cluster = destination.balanced
        if destination.rewrite is not None:
            request = destination.rewrite(request, record)
        may_be_copied = request.replayable and not request.streaming
        if may_be_copied and (terms.hedge is not None or route.mirrors):
            return self._beside(request, record, terms)
        return self._attempts(request, record, terms, _counted_elsewhere)

    def _beside(self, request: Request, record: CallRecord, terms: Terms) -> Steps[Outcome]:
        """Copies for others, and attempts beside each other."""
        cluster, around = record.cluster, self._around
        assert cluster is not None
        deadline = terms.deadline(request, record.started + record.held)
        yield from mirrored(request, record, deadline, around)
        if terms.hedge is None:
            return (yield from self._attempts(request, record, terms, _counted_elsewhere))
        breaker = cluster.high if terms.is_high else cluster.breaker
        call = Call(request, record, terms, cluster, breaker, deadline, around)
        key = terms.route.hash_key(request, record) if cluster.balance.hashes else None
        return (yield from hedged(call, key))

    def _unbalanced(self, request: Request, record: CallRecord) -> Steps[Outcome]:
        """No route, an answer of the mesh's own, or where the caller's own target leads.

        The last is Istio's PassthroughCluster: nothing is balanced, and nothing tried again.
        """
        route, destination = record.route, record.destination
        if route is None or destination is None:
            return (yield from deliver(record, self._local_answer(route, request, record)))
        record.cluster = destination.cluster
        if destination.cluster is None:
            return (yield from deliver(record, self._no_cluster(destination, request, record)))
        if is_secured(destination.cluster.balance.config):
            return (yield from deliver(record, Failure(Cause.CONNECT, UNSECURED)))
        _tell_of_answers(request, record, route, destination)
        deadline = self._terms_of(route, request).deadline(request, record.started + record.held)
        timeout = None if deadline is None else deadline - self._around.clock()
        if timeout is not None and timeout <= 0:
            return (yield from deliver(record, too_late(request)))
        record.attempts += 1
        record.attempt_began = self._around.clock()
        if request.streaming:
            self._around.observe(StreamBegan(record))
        sent = request if destination.rewrite is None else destination.rewrite(request, record)
        outcome = yield Send(sent, None, timeout)
        return (yield from deliver(record, outcome))

    def _local_answer(
        self, route: LiveRoute | None, request: Request, record: CallRecord
    ) -> Outcome:
        """What a route without destination answers by itself, or none at all."""
        if route is not None:
            return route.answer(request, record)
        host = request.authority or request.target
        why = self._around.because("routes", self.table.config.name)
        return Failure(Cause.NO_ROUTE, f"no route for {request.method} {host}{request.path}{why}")

    def _no_cluster(
        self, destination: Destination, request: Request, record: CallRecord
    ) -> Outcome:
        """A failure, or the status of the route's ``cluster_not_found_response_code``."""
        route, name = record.route, destination.name
        forward = None if route is None else route.forward
        status = NOT_FOUND if forward is None else forward.cluster_not_found_response_code
        if status == NOT_FOUND or request.is_grpc:
            why = self._around.because("clusters", name)
            return Failure(Cause.NO_CLUSTER, f"no cluster {name!r}{why}")
        record.flags += Cause.NO_CLUSTER.flags
        respond = destination.respond
        return Response(status, () if respond is None else respond(request, record, ()))

    def _attempts(  # noqa: PLR0915 - see above
        self, request: Request, record: CallRecord, terms: Terms, observe: Observer
    ) -> Steps[Outcome]:
        around, clock, cluster = self._around, self._around.clock, record.cluster
        assert cluster is not None
        outcome: Outcome = GONE
        again: Again | None = None
        try:
            deadline = terms.deadline(request, record.started + record.held)
            key = terms.route.hash_key(request, record) if cluster.balance.hashes else None
            breaker = cluster.high if terms.is_high else cluster.breaker
            in_flight, wait, rare = breaker.concurrency, NO_WAIT, terms.dresses or request.streaming
            timeout = per_try = None if request.streaming else terms.per_try_timeout
            while wait is not None:
                if wait:
                    yield Sleep(wait)
                if (in_flight.active >= breaker.room or breaker.waiting) and (
                    refused := (yield from admitted(breaker, record, deadline, clock))
                ):
                    outcome = yield from deliver(record, refused)
                    break
                if deadline is not None:
                    left = deadline - clock()
                    timeout = left if per_try is None or left < per_try else per_try
                endpoint = again.pick(key) if again else cluster.pick((), key)
                if endpoint is None or (timeout is not None and timeout <= 0):
                    refused = refusal(breaker, cluster, request, timeout, around)
                    outcome = yield from deliver(record, refused)
                    break
                record.endpoint, record.attempt_began = endpoint, clock()
                record.attempts += 1
                endpoint.active += 1
                in_flight.active += 1
                try:
                    sent = begun(request, record, terms, around) if rare else request
                    answer = yield Send(sent, endpoint, timeout)
                    wait = None
                    if not terms.is_final(answer):
                        again = again or Again.of(request, record, terms, deadline, around)
                        wait, rare = again.wait(answer, endpoint), True
                    if wait is None:
                        outcome = answer = (yield Deliver(answer, record)) or answer
                    cluster.observe(endpoint, answer)
                finally:
                    release(endpoint, breaker)
            return outcome
        finally:
            if again is not None:
                again.close()
            observe(CallEnded(record, outcome, clock() - record.started))


def _counted_elsewhere(event: Event) -> None:
    """The end of a call that others began is theirs to tell."""


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
    """What the route makes of response headers, before any filter does.

    Asked for when the filters let the call pass: an answer of theirs is none of the route's.
    """
    respond = destination.respond
    if respond is not None:
        record.responds_first(lambda headers: respond(request, record, headers))
    if route.attempt_counts[1]:

        def count(headers: Headers) -> Headers:
            others = tuple(item for item in headers if item[0] != ATTEMPT_COUNT)
            return (*others, (ATTEMPT_COUNT, str(record.attempts)))

        record.responds_first(count)
