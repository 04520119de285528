"""A call on its way out: find its listener, enter the listener's router."""

from collections.abc import Callable

from ..model import Listener, PathWithEscapedSlashesAction
from .events import CallEnded, CallRecord
from .filters.router import Router, Surroundings
from .message import Cause, Failure, Outcome, Request, Response
from .routing.paths import Normalizer, has_escaped_slashes, normalizer
from .steps import Steps, deliver

GONE = Failure(Cause.CANCELLED, "the caller went away")
BAD_REQUEST = 400
TEMPORARY_REDIRECT = 307


class LiveListener:
    """A listener with its routes and their filters compiled; ``service`` takes its calls."""

    __slots__ = ("_around", "_normalize", "_redirects", "config", "router", "service")

    def __init__(self, config: Listener, router: Router, around: Surroundings) -> None:
        self.config = config
        self.router = router
        self._around = around
        self._normalize: Normalizer | None = normalizer(config.http)
        action = config.http.path_with_escaped_slashes_action
        self._redirects = action is PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT
        self.service: Callable[[Request], Steps[Outcome]]
        self.service = router if self._normalize is None else self._tidied

    def tidy(self, request: Request) -> Request | Response:
        """With the path by which it is routed; or what is answered where that is not to be."""
        path = request.path if self._normalize is None else self._normalize(request.path)
        if path is None:
            return Response(BAD_REQUEST)
        if path == request.path:
            return request
        if self._redirects and has_escaped_slashes(request.path):
            redirected = Response(TEMPORARY_REDIRECT, (("location", path),))
            return Response(BAD_REQUEST) if request.is_grpc else redirected
        return request.altered(path=path, authority=request.authority, headers=request.headers)

    def _tidied(self, request: Request) -> Steps[Outcome]:
        made = self.tidy(request)
        return self._answered(request, made) if isinstance(made, Response) else self.router(made)

    def _answered(self, request: Request, answer: Response) -> Steps[Outcome]:
        around = self._around
        record = CallRecord(request, around.clock(), config_version=around.version)
        record.audience, record.details = self.router.audience, untidy(answer)
        outcome: Outcome = GONE
        try:
            outcome = yield from deliver(record, answer)
            return outcome
        finally:
            around.observe(CallEnded(record, outcome, around.clock() - record.started))


def untidy(answer: Response) -> str:
    """Why a listener answers a path by itself, in Envoy's words."""
    refused = answer.status == BAD_REQUEST
    return "path_normalization_failed" if refused else "escaped_slashes_url_redirected"
