"""A call is a generator of effects: what the core asks for, and the words to ask.

A driver sends back: for :class:`Send` and :class:`Serve` an outcome, for :class:`Sleep` nothing,
for :class:`AwaitConfig` whether anything new came in time, for :class:`AwaitTurn` whether the turn
came, for :class:`Race` the attempt that ended, for :class:`Spawn` nothing, for
:class:`AskRateLimit` and :class:`AskAuthorization` a verdict, for :class:`ReadBody` a
:class:`BodyRead` or ``None``, for :class:`Deliver` how the body ended (``None`` when it was
complete). Nothing follows a ``Deliver``.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..model import HeaderValueOption, Struct
from ..model.authn import GrpcAuthorization, HttpAuthorization
from .message import Headers, Outcome, Request

if TYPE_CHECKING:
    from .events import CallRecord
    from .upstream.endpoint import UpstreamEndpoint


@dataclass(slots=True)
class Send:
    """One attempt. ``endpoint`` ``None``: to wherever the caller's own target leads.

    ``timeout`` is in seconds from now, ``None`` for no limit. ``request`` is the caller's very
    object unless the route changes something of it.
    """

    request: Request
    endpoint: "UpstreamEndpoint | None"
    timeout: float | None


@dataclass(slots=True)
class Serve:
    """Run the application's handler.

    A handler that streams has sent its headers when it returns: who wants ``record.respond`` to
    change them looks there when they are sent.
    """

    request: Request
    record: "CallRecord | None" = None


@dataclass(slots=True)
class Sleep:
    seconds: float


@dataclass(slots=True)
class AwaitConfig:
    """Wait until anything newer than now is known of this listener, at most so many seconds."""

    listener: str
    timeout: float | None


class Turn:
    """A place in a queue. Who waits sets ``wake``, under the lock; it is called under it too."""

    __slots__ = ("granted", "wake")

    def __init__(self) -> None:
        self.granted = False
        self.wake: Callable[[], None] | None = None

    def grant(self) -> None:
        self.granted = True
        if self.wake is not None:
            self.wake()


@dataclass(slots=True)
class AwaitTurn:
    """Wait until a turn is granted, at most so many seconds; answered with ``turn.granted``."""

    turn: Turn
    timeout: float | None


@dataclass(slots=True)
class Race:
    """Begin one more attempt beside those under way, and wait for the first of all to end.

    ``send`` ``None`` begins none. Answered with a :class:`Finish`, or with ``None`` when
    ``timeout`` seconds pass before any ends. Attempts are numbered from 0 in the order they were
    begun in; the outcome delivered at last is that of one of them, and the others are cancelled.
    """

    send: Send | None
    timeout: float | None


@dataclass(slots=True)
class Finish:
    number: int
    outcome: Outcome


@dataclass(slots=True)
class Spawn:
    """Run another call beside this one, for its own sake: answered at once, with nothing."""

    steps: "Steps[Outcome]"


@dataclass(slots=True)
class AskRateLimit:
    """Ask a rate limit service (``envoy.service.ratelimit.v3``) at this endpoint.

    ``descriptors``: of each, its entries as (key, value).
    """

    endpoint: "UpstreamEndpoint"
    domain: str
    descriptors: tuple[tuple[tuple[str, str], ...], ...]
    timeout: float


@dataclass(slots=True)
class RateLimitVerdict:
    """``ok`` ``None``: the service gave no answer, and ``detail`` says why.

    ``limit``, ``remaining`` (calls) and ``reset`` (seconds) are of the nearest limit, where known.
    """

    ok: bool | None
    request_headers: Headers = ()
    response_headers: Headers = ()
    body: bytes = b""
    limit: str = ""
    remaining: int | None = None
    reset: float | None = None
    detail: str = ""


@dataclass(slots=True)
class ReadBody:
    """Read up to so many bytes of the request's body; who serves the call reads it all the same.

    Answered with ``None`` where the body cannot be had: it was read already, or it is a stream.
    """

    limit: int


@dataclass(slots=True)
class BodyRead:
    """``complete``: there is no more of it."""

    octets: bytes
    complete: bool


@dataclass(slots=True)
class AskAuthorization:
    """Ask an authorization service at this endpoint whether the request may go on.

    ``headers`` are what the service is shown of the request's own, pseudo-headers among them;
    ``body`` ``None``: it is shown none. ``extensions`` are the configuration's own words to it.
    """

    endpoint: "UpstreamEndpoint"
    service: GrpcAuthorization | HttpAuthorization
    request: Request
    headers: Headers
    timeout: float
    body: BodyRead | None = None
    pack_as_bytes: bool = False
    include_peer_certificate: bool = False
    extensions: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class AuthorizationVerdict:
    """``ok`` ``None``: the service gave no answer, and ``detail`` says why.

    ``request_headers`` are changed, ``headers_to_remove`` removed before the request goes on;
    ``response_headers`` come with the answer, whoever gives it. ``status`` and ``body`` are those
    of a refusal. A service that is asked over HTTP answers in ``response_headers`` alone.
    """

    ok: bool | None
    status: int = 0
    request_headers: tuple[HeaderValueOption, ...] = ()
    headers_to_remove: tuple[str, ...] = ()
    response_headers: tuple[HeaderValueOption, ...] = ()
    query_parameters_to_set: tuple[tuple[str, str], ...] = ()
    query_parameters_to_remove: tuple[str, ...] = ()
    body: bytes = b""
    dynamic_metadata: Struct | None = None
    detail: str = ""


@dataclass(slots=True)
class Deliver:
    """Hand the outcome to the application; resume when its body or stream has ended.

    Where ``record.respond`` is set, it makes of the response headers those that the application
    is to see.
    """

    outcome: Outcome
    record: "CallRecord"


Pause = Sleep | AwaitConfig | AwaitTurn | AskRateLimit | ReadBody | AskAuthorization
"""What every driver does alike, whatever the call is made with."""

Effect = Send | Serve | Pause | Race | Spawn | Deliver

T = TypeVar("T")
Steps = Generator[Effect, Any, T]
"""What every stage returns."""


def deliver(record: "CallRecord", outcome: Outcome) -> Steps[Outcome]:
    """Hand over what there is; the end of its body is the end of the call."""
    end: Outcome | None = yield Deliver(outcome, record)
    return end or outcome
