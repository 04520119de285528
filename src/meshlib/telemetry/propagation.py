"""The headers that belong to a whole chain of calls, handed on from what is served to what is sent.

A sidecar cannot do this: it does not know which call out was made while which call in was served.
"""

import logging
import sys
import uuid
from collections.abc import Callable, Collection, Iterable
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, NamedTuple

from ..dataplane import CallEnded, Headers, Request, Send
from ..dataplane.introduction import INTRODUCTION
from ..model.telemetry import Tracing
from . import b3, census
from .trace_headers import (
    BAGGAGE,
    LONGEST,
    PLAIN,
    TRACEPARENT,
    TRACESTATE,
    is_traceparent,
    sound_baggage,
    sound_tracestate,
)

if TYPE_CHECKING:
    from .tracing import Tracer

log = logging.getLogger("meshlib")
RECEIVED: ContextVar[Headers] = ContextVar("meshlib_received", default=())
"""What the call being served here brought along."""

REQUEST_ID = "x-request-id"
PLACES = frozenset({TRACEPARENT, TRACESTATE, census.NAME, *b3.NAMES})
"""They name a span, so that who traces writes his own."""
DATADOG = (
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-origin",
)
UNTOUCHED = ("x-ot-span-context", "x-cloud-trace-context", *DATADOG, "sw8")
"""Marks of tracers that are handed on as they are."""
TRACE = (*PLACES, *UNTOUCHED, REQUEST_ID)
"""The marks of a trace; they go wherever the call goes."""
PRIVATE = (BAGGAGE, "x-datadog-tags", "sw8-correlation", "sw8-x")
"""What they carry may be the application's own, so it stays within the mesh."""

_LISTS = frozenset({TRACESTATE, BAGGAGE})
OTEL = "opentelemetry.trace"
"""Unless the program has imported it, nobody traces and no baggage of OpenTelemetry's is set."""


class Entered(NamedTuple):
    """What :meth:`Propagation.receive` did; ``attached`` is OpenTelemetry's own token."""

    token: Token[Headers]
    attached: object = None


def new_request_id() -> str:
    return str(uuid.uuid4())


def _unconfigured(_listener: str) -> Tracing | None:
    return None


class Propagation:
    """``extra``: names of further headers to hand on, to hosts of the mesh only.

    ``constant``: headers that go with every call to such hosts, as who calls introduces himself.
    ``tracing`` ``None``: as the program's OpenTelemetry has it, once it is imported.
    ``configured`` is what a listener says of tracing.
    """

    def __init__(
        self,
        extra: Iterable[str] = (),
        *,
        constant: Headers = (),
        request_id: Callable[[], str] = new_request_id,
        tracing: "Tracer | None" = None,
    ) -> None:
        self.constant = constant
        self._extra = frozenset(name.lower() for name in extra) - INTRODUCTION
        self._wanted = frozenset(TRACE) | frozenset(PRIVATE) | self._extra
        self._inside = (self._extra | frozenset(PRIVATE)) - frozenset(TRACE)
        self._request_id = request_id
        self._tracing = tracing
        self._failed: set[type[Exception]] = set()
        self.configured: Callable[[str], Tracing | None] = _unconfigured

    @property
    def tracing(self) -> "Tracer | None":
        """Who makes spans; ``None`` where OpenTelemetry is not in use."""
        if self._tracing is None and OTEL in sys.modules:
            from .tracing import Tracer

            self._tracing = Tracer(configured=self._of_listener)
        return self._tracing

    def unmet(self) -> Callable[[CallEnded, int], None] | None:
        """Who traces calls that never came to a handler; ``None`` where nobody traces."""
        tracing = self._tracing or self.tracing
        try:
            is_nobody = tracing is None or tracing.tracer is None
        except Exception:  # noqa: BLE001 - it was told when the call came in
            return None
        return None if is_nobody else tracing.unmet  # type: ignore[union-attr]  # there is one

    def _of_listener(self, listener: str) -> Tracing | None:
        return self.configured(listener)

    def receive(self, request: Request) -> Entered:
        """Remember what is to be handed on; a call without request id gets one."""
        kept = self._kept(request)
        tracing = self.tracing
        if tracing is None:
            return Entered(RECEIVED.set(kept))
        try:
            traced, attached = tracing.receive(request, kept)
        except Exception as error:  # noqa: BLE001 - see _untraced
            self._untraced(request, error)
            return Entered(RECEIVED.set(kept))
        return Entered(RECEIVED.set(traced), attached)

    def _kept(self, request: Request) -> Headers:
        wanted = self._wanted
        headers = [pair for pair in request.headers if pair[0] in wanted]
        kept = sounded(headers, self._extra)
        if any(name == REQUEST_ID for name, _ in kept):
            return kept
        made = self._request_id()
        if request.meter is not None:
            request.meter.request_id = made
        return (*kept, (REQUEST_ID, made))

    def release(self, entered: Entered) -> None:
        try:
            RECEIVED.reset(entered.token)
        except ValueError:
            RECEIVED.set(())  # the handler ended elsewhere than it began
        if entered.attached is not None and self._tracing is not None:
            self._tracing.release(entered.attached)

    def outgoing(self, *, foreign: bool = False) -> Headers:
        """What to add to a call made here and now."""
        received = RECEIVED.get()
        tracing = self._tracing or self.tracing
        if tracing is not None:
            received = tracing.outgoing(received)
        if not received:
            return () if foreign else self.constant  # the very same: what is made of it is kept
        if foreign:
            return tuple([pair for pair in received if pair[0] not in self._inside])
        return (*received, *self.constant) if self.constant else received

    def begin(self, request: Request, *, foreign: bool = False) -> None:
        """Where the call is traced, ``request.meter.trace`` is a trace of it afterwards."""
        tracing = self._tracing
        if tracing is not None and request.meter is not None:
            try:
                tracing.begin(request, RECEIVED.get())
            except Exception as error:  # noqa: BLE001 - see _untraced
                self._untraced(request, error)

    def attempt(self, send: Send) -> Headers:
        """The headers of an attempt, in the place of those of the same names; none is traced."""
        meter = send.request.meter
        if meter is None or meter.trace is None:
            return ()
        try:
            made: Headers = meter.trace.attempt(send)
        except Exception as error:  # noqa: BLE001 - see _untraced
            self._untraced(send.request, error)
            return ()
        return made

    def _untraced(self, request: Request, error: Exception) -> None:
        """No call pays for what the program's own sampler, processor or exporter raises."""
        if request.meter is not None:
            request.meter.trace = None
        if type(error) not in self._failed:
            self._failed.add(type(error))
            log.error("a call is not traced; the next ones are not told of", exc_info=error)


def sounded(headers: Iterable[tuple[str, str]], lists: Collection[str] = ()) -> Headers:
    """What is worth handing on of these, each once. ``lists``: those that may be there twice."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name not in found:
            found[name] = value
        elif name in _LISTS or name in lists:
            found[name] = f"{found[name]},{value}"
        elif name in PLACES:
            found[name] = ""  # two of them say nothing (W3C Trace Context, 3.2.1)
    kept = {name: good for name, value in found.items() if (good := sound(name, value))}
    if TRACEPARENT not in kept:
        kept.pop(TRACESTATE, None)
    return tuple(kept.items())


def sound(name: str, value: str) -> str:
    """The value as it may be handed on; "" for what is empty, too long or malformed."""
    if "\t" in value:
        value = value.replace("\t", " ")  # HTTP has both for blanks, and gRPC refuses the call
    if not value or not PLAIN.fullmatch(value):
        return ""
    if name == BAGGAGE:
        return sound_baggage(value)
    if len(value) > LONGEST:
        return ""
    if name in b3.NAMES:
        return b3.sound(name, value)
    match name:
        case "traceparent":
            return value if is_traceparent(value) else ""
        case "tracestate":
            return sound_tracestate(value)
        case "grpc-trace-bin":
            return value if census.read(value) is not None else ""
        case _:
            return value.strip(" ")
