"""Spans that nobody but the mesh writes on, at a fraction of what an SDK's own cost.

A span of an SDK locks, checks and copies at every word, since anybody may write on it at any time.
Those of calls that are made here are handed to nobody: so the SDK is given what it exports when
they have ended, as it would have made it, where nobody asks for more of it in between.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, SynchronousMultiSpanProcessor
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from .deciding import Share, is_foreseen
from .ids import Ids, Start
from .trace_headers import RANDOM

Attribute = str | int | float | bool
Attributes = Mapping[str, Attribute]

PATIENT = (BatchSpanProcessor, SimpleSpanProcessor)
"""Processors that look at spans when they have ended, and never before."""
MOST = 128
"""Attributes and events of one span, as the SDK has it where nobody says otherwise."""
UNSET = Status(StatusCode.UNSET)


class AnySpan(Protocol):
    """What calls need of a span, whoever made it."""

    def get_span_context(self) -> SpanContext: ...

    def is_recording(self) -> bool: ...

    def set_attribute(self, key: str, value: Attribute) -> None: ...

    def set_attributes(self, attributes: Attributes) -> None: ...

    def add_event(
        self, name: str, attributes: Attributes | None = None, timestamp: int | None = None
    ) -> None: ...

    def set_status(self, status: Status) -> None: ...

    def update_name(self, name: str) -> None: ...

    def end(self, end_time: int | None = None) -> None: ...


class Spans(Protocol):
    """Where the spans of calls come from."""

    def start(self, name: str, here: Context, attributes: Attributes) -> AnySpan: ...

    def beneath(self, span: AnySpan, name: str, attributes: Attributes) -> AnySpan: ...


class SdkSpans:
    """As the program's OpenTelemetry makes them, whatever it is."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start(self, name: str, here: Context, attributes: Attributes) -> AnySpan:
        return self._tracer.start_span(name, here, SpanKind.CLIENT, attributes)

    def beneath(self, span: AnySpan, name: str, attributes: Attributes) -> AnySpan:
        parent = NonRecordingSpan(span.get_span_context())
        return self.start(name, trace.set_span_in_context(parent, Context()), attributes)


class PlainSpans:
    """As the program's SDK would make them, without asking it."""

    def __init__(self, tracer: Any, share: Share) -> None:
        self._tracer = tracer
        self._share = share
        self._ids: Ids = tracer.id_generator
        self._processor = tracer.span_processor
        self._known: object = None
        self._serves = False
        self._root_flags = self._ids.root_flags
        self.tell: Callable[[ReadableSpan], None] = self._processor.on_end

    @property
    def serves(self) -> bool:
        """Does nobody look at spans before they end? More who look may come at any time."""
        processors = self._processor._span_processors  # noqa: SLF001 - nothing public tells
        if processors is not self._known:
            self._known, self._serves = processors, all(type(p) in PATIENT for p in processors)
        return self._serves

    def start(self, name: str, here: Context, attributes: Attributes) -> AnySpan:
        parent = trace.get_current_span(here).get_span_context() if here else None
        if parent is not None and parent.is_valid:
            return self._made(name, parent, attributes)
        trace_id = self._ids.generate_trace_id()
        if not self._share.takes(trace_id):
            span_id = self._ids.generate_span_id()
            return NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False))
        return PlainSpan(self._tracer, name, self.root(trace_id), None, attributes, tell=self.tell)

    def beneath(self, span: AnySpan, name: str, attributes: Attributes) -> AnySpan:
        return self._made(name, span.get_span_context(), attributes)

    def below(self, parent: SpanContext) -> SpanContext:
        """A new span within another."""
        flags = TraceFlags(TraceFlags.SAMPLED | (parent.trace_flags & RANDOM))
        span_id = self._ids.generate_span_id()
        return SpanContext(parent.trace_id, span_id, False, flags, parent.trace_state)

    def root(self, trace_id: int) -> SpanContext:
        """The first span of a trace."""
        return SpanContext(trace_id, self._ids.generate_span_id(), False, self._root_flags)

    def first(self, start: Start) -> SpanContext:
        parent = start.parent
        return self.root(start.trace_id) if parent is None else self.below(parent)

    def again(self, trace_id: int) -> Start:
        """One more root of a trace."""
        return Start(Context(), self._ids, trace_id)

    def _made(self, name: str, parent: SpanContext, attributes: Attributes) -> "PlainSpan":
        own = self.below(parent)
        return PlainSpan(self._tracer, name, own, parent, attributes, tell=self.tell)

    def made(
        self,
        name: str,
        own: SpanContext,
        parent: SpanContext | None,
        attributes: Attributes,
        start: int,
        tell: Callable[[ReadableSpan], None],
    ) -> "PlainSpan":
        """A span that began before, of which ``tell`` is to hear."""
        return PlainSpan(self._tracer, name, own, parent, attributes, start=start, tell=tell)


def plain_spans(tracer: trace.Tracer, share: Share) -> PlainSpans | None:
    """``None`` where an SDK, or what it is told, is not known well enough."""
    if type(tracer) is not SdkTracer or not is_foreseen(tracer.sampler):
        return None
    if type(tracer.span_processor) is not SynchronousMultiSpanProcessor:
        return None
    try:
        limits = tracer._span_limits  # noqa: SLF001 - nothing public tells
        usual = limits.max_span_attributes == limits.max_events == MOST
        plain = usual and limits.max_span_attribute_length is None and tracer._is_enabled()  # noqa: SLF001
        counted = type(tracer._tracer_metrics).__name__ != "NoOpTracerMetrics"  # noqa: SLF001
    except AttributeError:
        return None  # another version
    return PlainSpans(tracer, share) if plain and not counted else None


class PlainSpan(ReadableSpan):
    """Written by one thread at a time, whoever drives its call, and read when it has ended."""

    def __init__(  # not that of its base: everything is set here once
        self,
        tracer: Any,
        name: str,
        own: SpanContext,
        parent: SpanContext | None,
        attributes: Attributes,
        *,
        tell: Callable[[ReadableSpan], None],
        start: int | None = None,
    ) -> None:
        self._name = name
        self._context = self._own = own
        self._kind = SpanKind.CLIENT
        self._instrumentation_info = tracer.instrumentation_info
        self._instrumentation_scope = tracer._instrumentation_scope  # noqa: SLF001 - nothing public tells
        self._parent = parent
        self._start_time = time.time_ns() if start is None else start
        self._end_time: int | None = None
        self._attributes: dict[str, Attribute] = dict(attributes)
        self._events: list[Event] = []
        self._links = ()
        self._resource = tracer.resource
        self._status = UNSET
        self._tell = tell

    def get_span_context(self) -> SpanContext:
        return self._own

    def is_recording(self) -> bool:
        return self._end_time is None

    def set_attribute(self, key: str, value: Attribute) -> None:
        if len(self._attributes) < MOST or key in self._attributes:
            self._attributes[key] = value

    def set_attributes(self, attributes: Attributes) -> None:
        self._attributes.update(attributes)

    def add_event(
        self, name: str, attributes: Attributes | None = None, timestamp: int | None = None
    ) -> None:
        if len(self._events) < MOST:
            self._events.append(Event(name, dict(attributes or {}), timestamp or time.time_ns()))

    def set_status(self, status: Status) -> None:
        self._status = status

    def update_name(self, name: str) -> None:
        self._name = name

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is None:
            self._end_time = end_time or time.time_ns()
            self._tell(self)
