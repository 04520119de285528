"""Faults on purpose: a delay, then perhaps an abort (gRFC A33, Envoy's fault filter).

The filter stands before the router, so what it does is done once a call and never tried again: a
retry policy sees the failures of upstreams, not those that are made here.
"""

from ...model import Fault, FaultAbort, FaultDelay, Percentage
from ..deadline import LONGEST, asked_for
from ..events import CallRecord
from ..message import Cause, Failure, Outcome, Request
from ..routing.matchers import header_condition
from ..steps import Sleep, Steps, deliver
from .access_counts import FaultCounts
from .chain import FACTORIES, Filter, Kept, Service, Site
from .local_reply import falls_under, local_reply

DELAY = "x-envoy-fault-delay-request"
ABORT = "x-envoy-fault-abort-request"
GRPC_ABORT = "x-envoy-fault-abort-grpc-request"
PERCENTAGE = "-percentage"
ABORTED = "fault filter abort"
DELAYED_FLAG = "DI"


class ActiveFaults:
    """How many calls of one listener's routes suffer a fault now."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


def active_faults(kept: Kept) -> dict[str, int]:
    """By table of routes."""
    return {
        str(key[0]): found.number
        for key, found in kept.everything().items()
        if isinstance(found, ActiveFaults)
    }


class FaultInjector:
    __slots__ = ("_abort", "_active", "_conditions", "_counts", "_delay", "_most", "_site")

    def __init__(self, config: Fault, site: Site) -> None:
        self._delay = config.delay
        self._abort = config.abort
        self._most = config.max_active_faults
        self._conditions = tuple(header_condition(m, site.regex) for m in config.headers)
        self._active = site.kept.get((site.place[0], "fault"), ActiveFaults)
        self._counts: FaultCounts = site.kept.get((*site.place, FaultCounts), FaultCounts)
        self._site = site

    def __call__(self, request: Request, record: CallRecord, service: Service) -> Steps[Outcome]:
        if not all(condition.test(request) for condition in self._conditions):
            return (yield from service(request, record))
        active, counted = self._active, False
        try:
            seconds = self._seconds(request)
            if seconds and self._has_room():
                active.number += 1
                counted = True
                self._counts.delays_injected += 1
                record.flags += (DELAYED_FLAG,)
                yield Sleep(self._bounded(seconds, request, record))
                if _begins_later(request):
                    record.held += seconds
                if self._is_late(request, record):
                    return (yield from deliver(record, _late(request)))
            status, grpc_status = self._statuses(request)
            if status is not None and (counted or self._has_room()):
                if not counted:
                    active.number += 1
                    counted = True
                self._counts.aborts_injected += 1
                _dress(request, record)
                return (
                    yield from local_reply(
                        request, record, Cause.FAULT, status, ABORTED, grpc_status=grpc_status
                    )
                )
            return (yield from service(request, record))
        finally:
            active.number -= counted

    def _has_room(self) -> bool:
        if self._most is None or self._active.number < self._most:
            return True
        self._counts.faults_overflow += 1
        return False

    def _seconds(self, request: Request) -> float:
        """How long this call is to wait; mostly not at all."""
        delay = self._delay
        if delay is None:
            return 0.0
        seconds, percentage = delay.fixed_delay, delay.percentage
        if seconds is None:
            seconds = (_number(request, DELAY) or 0) / 1000
            percentage = _capped(request, DELAY, percentage)
        return seconds if seconds > 0 and falls_under(percentage, self._site.dice) else 0.0

    def _statuses(self, request: Request) -> tuple[int | None, int | None]:
        """The HTTP status to end with, and the gRPC status where that is what was asked for."""
        abort = self._abort
        if abort is None:
            return None, None
        http, grpc, percentage = abort.http_status, abort.grpc_status, abort.percentage
        if http is None and grpc is None:
            http, grpc = _asked(request)
            name = ABORT if http is not None else GRPC_ABORT
            percentage = _capped(request, name, percentage)
        if (http is None and grpc is None) or not falls_under(percentage, self._site.dice):
            return None, None
        # To a plain HTTP caller a gRPC status is a 200 with words, as Envoy has it.
        return (http, None) if http is not None else (200, grpc)

    def _bounded(self, seconds: float, request: Request, record: CallRecord) -> float:
        seconds = min(seconds, LONGEST)
        deadline = asked_for(request, record.started)
        if deadline is None:
            return seconds
        return min(seconds, max(0.0, deadline - self._site.clock()))

    def _is_late(self, request: Request, record: CallRecord) -> bool:
        deadline = asked_for(request, record.started)
        return deadline is not None and self._site.clock() >= deadline


def _begins_later(request: Request) -> bool:
    """Envoy's route time-out for HTTP does not count what comes before the router; gRPC's, and
    what the application itself asked for, do."""
    asked = request.override is not None and request.override.timeout is not None
    return not request.is_grpc and not asked


def _late(request: Request) -> Failure:
    words = f"no time left for {request.target or request.path}: a fault delayed the call"
    return Failure(Cause.DEADLINE, words, grpc_status=4)


def _asked(request: Request) -> tuple[int | None, int | None]:
    """What the caller's headers ask for; HTTP statuses from 200 to 599 count."""
    status = _number(request, ABORT)
    if status is not None and 200 <= status < 600:
        return status, None
    return None, _number(request, GRPC_ABORT)


def _number(request: Request, name: str) -> int | None:
    text = request.header(name)
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 9:
        return None
    return int(text)


def _capped(request: Request, name: str, percentage: Percentage) -> Percentage:
    """The caller may ask for fewer of its calls, never for more than the configuration."""
    wanted = _number(request, name + PERCENTAGE)
    if wanted is None or wanted >= percentage.numerator:
        return percentage
    return Percentage(numerator=wanted, denominator=percentage.denominator)


def _dress(request: Request, record: CallRecord) -> None:
    """An abort has the headers that the route gives to answers, as in Envoy."""
    respond = record.destination.respond if record.destination is not None else None
    if respond is not None:
        record.responds_first(lambda headers: respond(request, record, headers))


def fault(config: Fault, site: Site) -> Filter | None:
    if config.upstream_cluster and config.upstream_cluster != site.cluster:
        return None
    wanted = (config.delay, config.abort)
    return FaultInjector(config, site) if any(_may_act(part) for part in wanted) else None


def _may_act(part: FaultDelay | FaultAbort | None) -> bool:
    return part is not None and part.percentage.share > 0


FACTORIES[Fault] = fault
