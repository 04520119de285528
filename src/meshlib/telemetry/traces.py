"""One call's spans: begun by the hooks, ended when its events were told."""

from collections.abc import Callable, Iterable

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, Tracer

from ..dataplane import Headers, Request, Send, UpstreamEndpoint
from ..dataplane.events import AttemptFailed, CallEnded, EndpointEjected
from ..dataplane.filters.again import REPICKED
from ..model import telemetry as model
from . import spans
from .marks import Forms, marks
from .plain_spans import AnySpan, Spans
from .tags import tell_operation, tell_tags
from .trace_headers import Parent

PATH_LENGTH = model.Tracing().max_path_tag_length
NOTICEABLE = 1_000_000
"""Nanoseconds before an attempt that are worth an event."""


def served(
    tracer: Tracer,
    request: Request,
    here: Context,
    config: model.Tracing | None,
    start: int | None = None,
) -> Span:
    """The span of a call that came in, as its kind of call names it."""
    if request.is_grpc:
        name, attributes = spans.grpc_names(request)[2], spans.grpc_attributes(request)
    else:
        name = request.method
        attributes = spans.server_attributes(request, _length(config))
    return tracer.start_span(name, here, SpanKind.SERVER, attributes, start_time=start)


def called(source: Spans, request: Request, config: model.Tracing | None, here: Context) -> AnySpan:
    """The span of a call that is made."""
    if request.is_grpc:
        return source.start(spans.grpc_names(request)[0], here, spans.grpc_attributes(request))
    return source.start(request.method, here, spans.client_attributes(request, _length(config)))


def _length(config: model.Tracing | None) -> int:
    return PATH_LENGTH if config is None else config.max_path_tag_length


class Unsampled:
    """Nothing is said of a call but that nobody is to say anything of it."""

    __slots__ = ("_headers", "span_id", "trace_id")
    sampled = False

    def __init__(self, span: SpanContext | Parent, headers: Headers = ()) -> None:
        self.trace_id = span.trace_id
        self.span_id = span.span_id
        self._headers = headers

    def attempt(self, send: Send) -> Headers:
        return self._headers

    def attempt_failed(
        self, event: AttemptFailed, endpoint: UpstreamEndpoint | None, at: int
    ) -> None:
        """Nobody wants to know."""

    def ended(self, event: CallEnded, at: int, ejections: Iterable[EndpointEjected]) -> None:
        """Nobody wants to know."""


class ServerTrace(Unsampled):
    """``adopted``: the span was begun by somebody else, who ends it."""

    __slots__ = ("_adopted", "_config", "_span")
    sampled = True

    def __init__(
        self, span: Span, config: model.Tracing | None = None, *, adopted: bool = False
    ) -> None:
        super().__init__(span.get_span_context())
        self._span = span
        self._config = config
        self._adopted = adopted

    def ended(self, event: CallEnded, at: int, ejections: Iterable[EndpointEjected]) -> None:
        span, record = self._span, event.record
        if not span.is_recording():
            return
        span.set_attributes(spans.call_attributes(record, event.outcome))
        spans.tell_events(span, event, at)
        tell_tags(span, event, self._config)
        if self._adopted:
            return
        route = "" if record.request.meter is None else record.request.meter.http_route
        if route:
            span.update_name(f"{record.request.method} {route}")
            span.set_attribute("http.route", route)
        if record.request.is_grpc:
            spans.tell_messages(span, event, at, record.started + event.duration, served=True)
        else:
            tell_operation(span, event)
        spans.tell_outcome(span, record.request, event.outcome, served=True)
        span.end(at)


class ClientTrace(Unsampled):
    """``span`` is that of the call where the call is gRPC's, else that of its first attempt.

    An adopted one was begun by somebody else, who ends it. ``again`` begins the span of one more
    attempt beside the first. ``unseen`` attempts reached nobody, and count as none (gRFC A72).
    """

    __slots__ = (
        "_adopted",
        "_again",
        "_began",
        "_config",
        "_count",
        "_failed",
        "_forms",
        "_now",
        "_open",
        "_request",
        "_source",
        "_span",
        "_unseen",
        "_used",
    )
    sampled = True

    def __init__(
        self,
        source: Spans,
        request: Request,
        forms: Forms,
        span: AnySpan,
        *,
        config: model.Tracing | None,
        now: Callable[[], int],
        again: Callable[[], AnySpan] | None = None,
    ) -> None:
        super().__init__(span.get_span_context())
        self._source = source
        self._request = request
        self._forms = forms
        self._span = span
        self._config = config
        self._now = now
        self._began = now()
        self._adopted = again is None
        self._again = again
        self._count = 0
        self._unseen = 0
        self._failed: tuple[str, int] | None = None
        self._used: set[str] = set()
        self._open: list[tuple[UpstreamEndpoint | None, AnySpan]] = []

    def attempt(self, send: Send) -> Headers:
        span = self._of_attempt()
        if span is not self._span or not self._adopted:
            self._open.append((send.endpoint, span))
        if send.endpoint is not None:
            self._used.add(send.endpoint.key)
            span.set_attributes(spans.peer_attributes(send.endpoint.key))
        self._count += 1
        return marks(span.get_span_context(), self._forms)

    def _of_attempt(self) -> AnySpan:
        count = self._count
        if self._request.is_grpc:
            span = self._grpc_attempt(count)
        elif self._again is None or not count:
            return self._span
        else:
            span = self._again()
            span.set_attribute("http.request.resend_count", count)
        if self._failed is not None:
            why, at = self._failed
            span.set_attribute("meshlib.retry.reason", why)
            span.set_attribute("meshlib.retry.backoff_ms", (self._now() - at) / 1e6)
        return span

    def _grpc_attempt(self, count: int) -> AnySpan:
        attributes: spans.Attributes = {
            "previous-rpc-attempts": count - self._unseen,
            "transparent-retry": self._failed is not None and self._failed[0] == REPICKED,
        }
        span = self._source.beneath(self._span, spans.grpc_names(self._request)[1], attributes)
        if not count and (at := self._now()) - self._began > NOTICEABLE:
            span.add_event("Delayed LB pick complete", timestamp=at)
        return span

    def attempt_failed(
        self, event: AttemptFailed, endpoint: UpstreamEndpoint | None, at: int
    ) -> None:
        self._failed = event.retried_as, at
        self._unseen += event.retried_as == REPICKED
        said: spans.Attributes = {"reason": event.retried_as, "attempt": self._count}
        span = self._taken(endpoint)
        if span is not None:
            if self._request.is_grpc:
                spans.tell_messages(span, event, self._began, event.record.started)
            span.add_event("retry", said, at)
            spans.tell_outcome(span, self._request, event.outcome)
            span.end(at)
        if span is None or self._request.is_grpc:
            self._span.add_event("retry", said, at)

    def _taken(self, endpoint: UpstreamEndpoint | None) -> AnySpan | None:
        """The attempt at this endpoint, which is over."""
        if len(self._open) < 2:
            return self._open.pop()[1] if self._open else None
        found = next((one for one in self._open if one[0] is endpoint), self._open[0])
        self._open.remove(found)
        return found[1]

    def ended(self, event: CallEnded, at: int, ejections: Iterable[EndpointEjected]) -> None:
        record, outcome, call = event.record, event.outcome, self._span
        last = self._taken(record.endpoint)
        while self._open:
            _, given_up = self._open.pop(0)
            spans.tell_outcome(given_up, self._request, spans.GIVEN_UP)
            given_up.end(at)
        if last is not None:
            if self._request.is_grpc:
                spans.tell_messages(last, event, at, record.started + event.duration)
            spans.tell_outcome(last, self._request, outcome)
        if not self._request.is_grpc and last is not None:
            call = last
        if call.is_recording():
            call.set_attributes(spans.call_attributes(record, outcome))
            mine = [one for one in ejections if one.endpoint.key in self._used]
            spans.tell_events(call, event, at, mine)
            tell_tags(call, event, self._config)
            if not self._request.is_grpc and not self._adopted:
                tell_operation(call, event)
        if last is not None:
            last.end(at)
        if not self._adopted and call is not last and call.is_recording():
            spans.tell_outcome(call, self._request, outcome)
            call.end(at)
