"""A call is a generator of effects: what the core asks for, and the words to ask.

A driver sends back: for :class:`Send` and :class:`Serve` an outcome, for :class:`Sleep` nothing,
for :class:`AwaitConfig` whether anything new came in time, for :class:`AwaitTurn` whether the turn
came, for :class:`Race` the attempt that ended, for :class:`Spawn` nothing, for
:class:`AskRateLimit` a verdict, for :class:`Deliver` how the body ended (``None`` when it was
complete). Nothing follows a ``Deliver``.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

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
class Deliver:
    """Hand the outcome to the application; resume when its body or stream has ended.

    Where ``record.respond`` is set, it makes of the response headers those that the application
    is to see.
    """

    outcome: Outcome
    record: "CallRecord"


Pause = Sleep | AwaitConfig | AwaitTurn | AskRateLimit
"""What every driver does alike, whatever the call is made with."""

Effect = Send | Serve | Pause | Race | Spawn | Deliver

T = TypeVar("T")
Steps = Generator[Effect, Any, T]
"""What every stage returns."""


def deliver(record: "CallRecord", outcome: Outcome) -> Steps[Outcome]:
    """Hand over what there is; the end of its body is the end of the call."""
    end: Outcome | None = yield Deliver(outcome, record)
    return end or outcome
