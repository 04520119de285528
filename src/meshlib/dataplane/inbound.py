"""A call on its way in: its route, the filters before the handler, the handler."""

from collections.abc import Container, Sequence

from ..model import FilterDiscovery, HttpFilter, Listener
from ..model.authn import ExtAuthz, JwtAuthn
from ..model.rbac import Rbac
from .events import CallEnded, CallRecord, StreamBegan
from .filters.chain import FACTORIES, Filter, Site
from .filters.local_reply import local_reply
from .filters.router import Surroundings
from .inbound_hygiene import BAD_PATH, Unclean, clean, segments_unescaped
from .inbound_stacks import Stacks
from .introduction import answered
from .message import Cause, Failure, Outcome, Request, Response
from .outbound import LiveListener, untidy
from .routing.table import RouteTable
from .steps import Deliver, Serve, Steps, deliver

LISTENER = "inbound"
GONE = Failure(Cause.CANCELLED, "the caller went away")
FORBIDDEN = 403
UNAUTHENTICATED = 16
POLICIES = (Rbac, JwtAuthn, ExtAuthz, FilterDiscovery)
"""What lets callers in or does not; of what is still to be discovered nobody knows."""


def inbound(request: Request, around: Surroundings) -> Steps[Outcome]:
    """Nothing stands before the handler."""
    record = CallRecord(request, around.clock(), inbound=True)
    answered(record, around.introduction)
    outcome: Outcome = GONE
    try:
        if request.streaming:
            around.observe(StreamBegan(record))
        answer = yield Serve(request, record)
        outcome = (yield Deliver(answer, record)) or answer
        return outcome
    finally:
        around.observe(CallEnded(record, outcome, around.clock() - record.started))


def unwelcome(request: Request, around: Surroundings) -> Steps[Outcome]:
    """The connection that it came by is not one to listen to."""
    record = CallRecord(request, around.clock(), inbound=True, config_version=around.version)
    outcome: Outcome = GONE
    try:
        words = request.connection.refusal
        record.details = "downstream_peer_not_trusted"
        outcome = yield from local_reply(
            request, record, Cause.UNAUTHORIZED, FORBIDDEN, words, grpc_status=UNAUTHENTICATED
        )
        return outcome
    finally:
        around.observe(CallEnded(record, outcome, around.clock() - record.started))


class Inbound:
    """What stands before the handlers: the configured listener, and what the code itself asks for.

    A filter of the configuration takes the place of one that a handler is decorated with, where
    both are of one kind. The state of decorations lasts as long as the engine. Where somebody may
    be turned away, calls have to be clean (:mod:`.inbound_hygiene`).
    """

    __slots__ = (
        "_around",
        "_decorations",
        "_gateways",
        "_listener",
        "_site",
        "_stacks",
        "guards",
    )

    def __init__(self, around: Surroundings, site: Site, gateways: Container[str] = ()) -> None:
        self._listener: LiveListener | None = None
        self.guards = False
        self._gateways = gateways
        self._around = around
        self._site = site
        self._decorations: dict[int, tuple[Sequence[HttpFilter], tuple[Filter, ...]]] = {}
        self._stacks = Stacks(None, self._decorated)

    @property
    def table(self) -> RouteTable | None:
        return self._stacks.table

    def listen(self, listener: LiveListener | None) -> None:
        """Another configuration is in force."""
        self._listener = listener
        self.guards = listener is not None and _guards(listener.config)
        self._stacks = Stacks(listener, self._decorated)

    def __call__(self, request: Request, extra: Sequence[HttpFilter]) -> Steps[Outcome]:
        around, tidied = self._around, self._tidied(request, extra)
        request = tidied if isinstance(tidied, Request) else request
        record = CallRecord(request, around.clock(), inbound=True, config_version=around.version)
        listener = self._listener
        record.audience = None if listener is None else listener.router.audience
        answered(record, around.introduction)
        outcome: Outcome = GONE
        try:
            if request.streaming:
                around.observe(StreamBegan(record))
            match tidied:
                case Unclean(status, grpc_status, words, details):
                    record.details = details
                    outcome = yield from local_reply(
                        request, record, Cause.UNCLEAN, status, words, grpc_status=grpc_status
                    )
                case Response():
                    record.details = untidy(tidied)
                    outcome = yield from deliver(record, tidied)
                case _:
                    service = self._stacks.find(request, record, extra)
                    outcome = yield from service(request, record)
            return outcome
        finally:
            around.observe(CallEnded(record, outcome, around.clock() - record.started))

    def _tidied(
        self, request: Request, extra: Sequence[HttpFilter]
    ) -> Request | Response | Unclean:
        """As policies, routes and the handler see it; or what is answered in their place.

        A path that means nothing, so that nobody can say what holds for the call, is no request.
        """
        listener = self._listener
        guards = self.guards or any(isinstance(one.config, POLICIES) for one in extra)
        made = clean(request, self._gateways) if guards else request
        if isinstance(made, Unclean) or listener is None:
            return made
        tidied = listener.tidy(made)
        if guards and request.is_grpc and isinstance(tidied, Request) and tidied.path != made.path:
            return BAD_PATH  # its handler was found by the other one
        return tidied

    def canonical(self, path: str) -> str:
        """The path that a request with this one is taken to have, where it is not refused."""
        made: str | None = segments_unescaped(path) if self.guards else path
        if made is None or self._listener is None:
            return path
        tidied = self._listener.tidy(Request("", "GET", made))
        return tidied.path if isinstance(tidied, Request) else path

    def _decorated(self, extra: Sequence[HttpFilter]) -> tuple[Filter, ...]:
        if not extra:
            return ()
        known = self._decorations.get(id(extra))
        if known is None or known[0] is not extra:
            made = (
                FACTORIES[type(decoration.config)](
                    decoration.config, self._site_of(decoration.name)
                )
                for decoration in extra
            )
            known = extra, tuple(found for found in made if found is not None)
            self._decorations[id(extra)] = known
        return known[1]

    def _site_of(self, name: str) -> Site:
        site = self._site
        return Site(
            place=(name,),
            clock=site.clock,
            dice=site.dice,
            regex=site.regex,
            kept=site.kept,
            clusters=site.clusters,
            service=site.service,
            loop_lag=site.loop_lag,
            tokens=site.tokens,
        )


def _guards(listener: Listener) -> bool:
    """Is anybody turned away here?"""
    filters = listener.http.http_filters
    return listener.tls is not None or any(isinstance(one.config, POLICIES) for one in filters)
