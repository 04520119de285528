"""A call on its way out: find its listener, enter the listener's router."""

from collections.abc import Callable

from ..model import Listener
from .events import CallEnded, CallRecord
from .filters.router import Router, Surroundings
from .message import Cause, Failure, Outcome, Request, Response
from .routing.paths import Normalizer, normalizer
from .steps import Steps, deliver

GONE = Failure(Cause.CANCELLED, "the caller went away")
BAD_REQUEST = 400


class LiveListener:
    """A listener with its routes and their filters compiled; ``service`` takes its calls."""

    __slots__ = ("_around", "_normalize", "config", "router", "service")

    def __init__(self, config: Listener, router: Router, around: Surroundings) -> None:
        self.config = config
        self.router = router
        self._around = around
        self._normalize: Normalizer | None = normalizer(config.http)
        self.service: Callable[[Request], Steps[Outcome]]
        self.service = router if self._normalize is None else self._tidied

    def tidy(self, request: Request) -> Request | None:
        """With the path by which it is routed; ``None``: with none that means anything."""
        path = request.path if self._normalize is None else self._normalize(request.path)
        if path is None:
            return None
        if path == request.path:
            return request
        return request.altered(path=path, authority=request.authority, headers=request.headers)

    def _tidied(self, request: Request) -> Steps[Outcome]:
        made = self.tidy(request)
        return self._refused(request) if made is None else self.router(made)

    def _refused(self, request: Request) -> Steps[Outcome]:
        around = self._around
        record = CallRecord(request, around.clock(), config_version=around.version)
        outcome: Outcome = GONE
        try:
            outcome = yield from deliver(record, Response(BAD_REQUEST))
            return outcome
        finally:
            around.observe(CallEnded(record, outcome, around.clock() - record.started))
