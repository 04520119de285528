"""Who is traced, and by whom: the program's own OpenTelemetry, asked only where it is there."""

import os
import time
from collections.abc import Callable
from contextvars import Token
from functools import partial

from opentelemetry import baggage, context, trace
from opentelemetry.context import Context
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    NoOpTracer,
    NoOpTracerProvider,
    ProxyTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    TracerProvider,
)

from ..dataplane import Headers, Request
from ..dataplane.events import CallEnded
from ..model import telemetry as model
from .deciding import ALL, obeys_parents, share_of
from .ids import Ids, Start
from .late_spans import LateTrace
from .lots import Lots, Wanted
from .marks import (
    Forms,
    entries_of,
    forms_of,
    marks,
    parent_of,
    rewritten,
    span_of,
    with_baggage,
)
from .plain_spans import PlainSpans, SdkSpans, Spans, plain_spans
from .propagation import PLACES, sounded
from .spans import alone
from .trace_headers import BAGGAGE, Parent
from .traces import ClientTrace, ServerTrace, Unsampled, called, served

SCOPE = "meshlib"
INSTRUMENTORS = "opentelemetry.instrumentation."
INBOUND = "inbound"
FORCED = "x-client-trace-id"
QUIET = context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001 - what exporters agree on
LOW = (1 << 64) - 1
"""The bits of a trace id that decide: those that OpenTelemetry's own sampler looks at."""

Configured = Callable[[str], model.Tracing | None]
"""What a listener says of tracing."""


class Tracer:
    """``provider`` ``None``: the program's.

    ``propagators``: names of what goes out besides W3C's headers and the ones that came in
    (``OTEL_PROPAGATORS``).
    """

    def __init__(
        self,
        provider: TracerProvider | None = None,
        *,
        configured: Configured = lambda _listener: None,
        propagators: str | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        said = os.environ.get("OTEL_PROPAGATORS", "") if propagators is None else propagators
        words = {word.strip() for word in said.split(",")}
        self._always = Forms("b3" in words, "b3multi" in words)
        self._is_named = OTEL_PYTHON_TRACER_PROVIDER in os.environ
        self._configured = configured
        self._provider = provider
        self._now = now
        self._tracer: trace.Tracer | None = None
        self._is_off = False
        self._sdk: SdkSpans
        self._lots: Lots
        self._plain: PlainSpans | None = None
        self._ids = Ids()
        self._obeys, self._share = True, ALL

    @property
    def tracer(self) -> trace.Tracer | None:
        """``None`` as long as the program has set up nothing that traces."""
        if self._tracer is None:
            if self._is_off or (self._provider is None and not self._is_named and _is_unset()):
                return None
            provider = self._provider or trace.get_tracer_provider()
            if isinstance(provider, ProxyTracerProvider | NoOpTracerProvider):
                return None
            sampler = getattr(provider, "sampler", None)
            self._obeys, self._share = obeys_parents(sampler), share_of(sampler)
            tracer = provider.get_tracer(SCOPE)
            if isinstance(tracer, NoOpTracer):  # OTEL_SDK_DISABLED
                self._is_off = True
                return None
            self._ids.take_over(tracer)
            self._lots = Lots(self._ids, self._share, self._always)
            self._sdk, self._plain = SdkSpans(tracer), plain_spans(tracer, self._share)
            self._tracer = tracer
        return self._tracer

    # --- calls that are served ---

    def receive(self, request: Request, kept: Headers) -> tuple[Headers, object]:
        """The headers to hand on, and what to give to :meth:`release`."""
        tracer, parent, here = self.tracer, parent_of(kept), _with_baggage(kept)
        around = _around(parent) if here else None
        if around is None and parent is not None and self._leaves_out(parent, INBOUND):
            if request.meter is not None:
                request.meter.trace = Unsampled(parent)
            return kept, _attached(Handed(span_of(parent)), here)
        if tracer is None:
            if parent is None or not parent.trace_id:
                return kept, context.attach(here)
            return kept, _attached(Handed(span_of(parent)), here)
        span = around or self._served(tracer, request, parent, here)
        own = span.get_span_context()
        if request.meter is not None and span.is_recording():
            config = self._configured(INBOUND)
            request.meter.trace = ServerTrace(span, config, adopted=span is around)
            self._follow(request)
        elif request.meter is not None:
            request.meter.trace = Unsampled(own)
        kept = rewritten(kept, marks(own, forms_of(kept, self._always)))
        return kept, _attached(span if span.is_recording() else Handed(own), here)

    def _leaves_out(self, parent: Parent, listener: str) -> bool:
        """Did a caller decide that this call is not traced, or does nobody report here at all?

        Where the configuration speaks of sampling, decisions hold whatever the sampler makes of
        them.
        """
        if not parent.trace_id:
            return False
        if parent.sampled is False and self._obeys:
            return True
        config = self._configured(listener)
        return config is not None and (parent.sampled is False or _is_off(config))

    def _served(
        self,
        tracer: trace.Tracer,
        request: Request,
        parent: Parent | None,
        here: Context,
        config: model.Tracing | None = None,
        began: int | None = None,
    ) -> Span:
        current = trace.get_current_span(here)
        if current.is_recording() and _goes_with(current, parent):
            start = Start(here, self._ids)
        else:
            found = self._decide(request, parent, here, config or self._configured(INBOUND))
            if isinstance(found, Span):
                return found
            start = found
        config = config or self._configured(INBOUND)
        return start(lambda at: served(tracer, request, at, config, began))

    def release(self, attached: object) -> None:
        if isinstance(attached, Token):
            try:
                attached.var.reset(attached)
            except ValueError:
                return  # the handler ended elsewhere than it began
        else:
            context.detach(attached)  # type: ignore[arg-type]  # as it was given

    def unmet(self, event: CallEnded, at: int) -> None:
        """A call ended before it came to a handler: it has its span all the same."""
        tracer, record = self.tracer, event.record
        if tracer is None:
            return
        config = None if record.audience is None else record.audience.tracing
        said = [pair for pair in record.request.headers if pair[0] in PLACES]
        parent = parent_of(sounded(said))
        if config is not None and _is_off(config):
            return
        theirs = None if parent is None else _around(parent)
        if theirs is not None:
            ServerTrace(theirs, config, adopted=True).ended(event, at, ())
            return
        began = at - int(event.duration * 1e9)
        span = self._served(tracer, record.request, parent, Context(), config, began)
        if span.is_recording():
            ServerTrace(span, config).ended(event, at, ())

    # --- calls that are made ---

    def outgoing(self, received: Headers) -> Headers:
        """What is handed on of the span and of the baggage that are current."""
        here = context.get_current()
        if not here:
            return received
        span, told = trace.get_current_span(here), baggage.get_all(here)
        own = span.get_span_context()
        if type(span) is not Handed and own.is_valid and not _is_in(received, own):
            received = rewritten(received, marks(own, forms_of(received, self._always)))
        if not told and not own.is_valid:
            return received
        return with_baggage(received, told, alone=own.is_valid)

    def begin(self, request: Request, received: Headers) -> None:
        self._begin_call(request, received)
        if request.streaming:
            self._follow(request)

    def _follow(self, request: Request) -> None:
        """Of one message there is to know when it went; of a stream, that of each."""
        meter = request.meter
        if request.streaming and meter is not None and meter.trace is not None:
            meter.messages = alone(meter) if meter.trace.sampled else None

    def _begin_call(self, request: Request, received: Headers) -> None:
        tracer, meter = self.tracer, request.meter
        if tracer is None or meter is None:
            return
        current = context.get_current()
        if not current and not received:
            self._begin_trace(request)
            return
        if current.get(QUIET):
            return  # of what is done for telemetry's own sake there would be no end
        around = trace.get_current_span(current)
        if type(around) is Handed:
            return  # what is handed on says that nobody traces this
        here = around.get_span_context()
        config = self._configured(request.target)
        if config is not None and _is_off(config) and (here.is_valid or parent_of(received)):
            return  # what is handed on names who reports
        if _is_of_instrumentor(around, SpanKind.CLIENT):
            forms = forms_of(received, self._always)
            source = self._source()
            meter.trace = ClientTrace(source, request, forms, around, config=config, now=self._now)
        elif not here.is_valid:
            parent = parent_of(received)
            if parent is None or not self._leaves_out(parent, request.target):
                start = self._decide(request, parent, current, config)
                self._begin(request, received, start, config)
        elif here.trace_flags & TraceFlags.SAMPLED or not (self._obeys or config is not None):
            self._begin(request, received, Start(current, self._ids), config)

    def _begin_trace(self, request: Request) -> None:
        """Nobody has called here: mostly, the sampler wants none of it, which is to cost little."""
        drawn: Wanted | int | Unsampled | LateTrace = self._lots.draw()
        if not isinstance(drawn, Unsampled):
            config = self._configured(request.target)
            trace_id = drawn if isinstance(drawn, int) else drawn.trace_id
            if config is not None and not _within(trace_id, config, request):
                drawn = self._lots.blank(trace_id)
            elif type(drawn) is Wanted and type(source := self._source()) is PlainSpans:
                drawn = LateTrace(source, request, drawn, config, self._always, self._now)
            else:
                self._begin(request, (), Start(Context(), self._ids, trace_id), config)
                return
        request.meter.trace = drawn  # type: ignore[union-attr]  # there is one

    def _source(self) -> Spans:
        plain = self._plain
        return self._sdk if plain is None or not plain.serves else plain

    def _begin(
        self,
        request: Request,
        received: Headers,
        start: Start | Span,
        config: model.Tracing | None,
    ) -> None:
        forms = forms_of(received, self._always)
        if isinstance(start, Start):
            source = self._source()
            if type(source) is PlainSpans and (start.trace_id or start.parent is not None):
                request.meter.trace = LateTrace(  # type: ignore[union-attr]  # there is one
                    source, request, start, config, forms, self._now
                )
                return
            make = partial(called, source, request, config)
            span, again = start(make), partial(start, make)
            if span.is_recording():
                request.meter.trace = ClientTrace(  # type: ignore[union-attr]  # there is one
                    source, request, forms, span, config=config, now=self._now, again=again
                )
                return
            lost = span.get_span_context()
        else:
            lost = start.get_span_context()
        request.meter.trace = Unsampled(lost, marks(lost, forms))  # type: ignore[union-attr]

    # --- decisions ---

    def _decide(
        self,
        request: Request,
        parent: Parent | None,
        here: Context,
        config: model.Tracing | None,
    ) -> Start | Span:
        """Where to begin, or a span that stands for none. A decision that came along holds."""
        if parent is not None and parent.trace_id:
            if parent.sampled is None:
                wanted = _within(parent.trace_id, config, request)
                parent = parent._replace(sampled=wanted)
            remote = NonRecordingSpan(span_of(parent))
            if not parent.sampled and (self._obeys or config is not None):
                return remote
            return Start(trace.set_span_in_context(remote, here), self._ids)
        trace_id = self._ids.inner.generate_trace_id()
        said = None if parent is None else parent.sampled
        if said is None:
            said = _within(trace_id, config, request) and self._share.takes(trace_id)
        if said:
            root = trace.set_span_in_context(INVALID_SPAN, here) if here else here
            return Start(root, self._ids, trace_id)
        span_id = self._ids.inner.generate_span_id()
        return NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False))


def _is_unset() -> bool:
    """Is there no provider yet? Asked at every call, so the environment is not looked at again."""
    return getattr(trace, "_TRACER_PROVIDER", trace) is None


class Handed(NonRecordingSpan):
    """Stands for a span that the headers received here name already."""


def _is_in(received: Headers, here: SpanContext) -> bool:
    """Does what came along name this very span? Then it goes on as it is."""
    if received[:1] == marks(here, Forms())[:1]:
        return True
    parent = parent_of(received)
    return parent is not None and (parent.trace_id, parent.span_id) == (here.trace_id, here.span_id)


def _is_off(config: model.Tracing) -> bool:
    """``disableSpanReporting``"""
    return not config.overall_sampling


def _within(trace_id: int, config: model.Tracing | None, request: Request) -> bool:
    """Does the configuration want this trace? The same ones everywhere, by their ids."""
    if config is None:
        return True
    asked = request.header(FORCED) is not None
    share = config.client_sampling if asked else config.random_sampling
    return (trace_id & LOW) < min(share, config.overall_sampling) / 100 * (LOW + 1)


def _around(parent: Parent | None) -> Span | None:
    """The span that somebody else made of the very call that comes in here."""
    span = trace.get_current_span()
    here = span.get_span_context()
    if not here.is_valid or not _goes_with(span, parent):
        return None
    if _is_of_instrumentor(span, SpanKind.SERVER):
        return span
    is_theirs = type(span) is NonRecordingSpan and not here.is_remote
    return span if is_theirs and (parent is None or here.span_id != parent.span_id) else None


def _goes_with(span: Span, parent: Parent | None) -> bool:
    """Is it of the same trace as what came along, and not left over of the program's start?"""
    trace_id = span.get_span_context().trace_id
    return parent is None or not parent.trace_id or parent.trace_id == trace_id


def _is_of_instrumentor(span: Span, kind: SpanKind) -> bool:
    scope = getattr(span, "instrumentation_scope", None)
    return (
        scope is not None
        and scope.name.startswith(INSTRUMENTORS)
        and getattr(span, "kind", None) is kind
        and span.is_recording()
    )


def _with_baggage(kept: Headers) -> Context:
    here = context.get_current()
    came = next((value for name, value in kept if name == BAGGAGE), "")
    for key, value in entries_of(came).items() if came else ():
        here = baggage.set_baggage(key, value, here)
    return here


def _attached(span: Span, here: Context) -> object:
    return context.attach(trace.set_span_in_context(span, here))
