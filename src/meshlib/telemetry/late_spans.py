"""Calls that go well at once are told when somebody reads their spans, on the reader's own thread.

While such a call lasts, no more is kept of it than its ids and its times. The spans that an SDK's
processors are given when it has ended are blank: what they say follows from how the call went, by
the very rules that hold for all other calls. Those have their spans written as they go.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from ..dataplane import CallRecord, Headers, Request, Response, Send, UpstreamEndpoint
from ..dataplane.events import AttemptFailed, CallEnded, EndpointEjected
from ..model import telemetry as model
from .attributes import request_id
from .ids import Start
from .lots import Wanted
from .marks import Forms, marks
from .plain_spans import AnySpan, Attributes, PlainSpan, PlainSpans
from .propagation import REQUEST_ID
from .traces import ClientTrace, Unsampled, called

log = logging.getLogger("meshlib")
Tell = Callable[[ReadableSpan], None]


class LateTrace(Unsampled):
    """A call of which nothing is written yet; ``unfolded`` once it is.

    ``start`` is where it begins, or else a trace that was drawn ahead begins with it.
    """

    __slots__ = (
        "_config",
        "_endpoint",
        "_forms",
        "_is_grpc",
        "_own",
        "_request",
        "_sent",
        "_sent_at",
        "_start",
        "_unfolded",
        "began",
        "now",
        "source",
    )
    sampled = True

    def __init__(  # not that of its base: all that there is of it is made here
        self,
        source: PlainSpans,
        request: Request,
        start: Start | Wanted,
        config: model.Tracing | None,
        forms: Forms,
        now: Callable[[], int],
    ) -> None:
        self.source = source
        self.now = now
        self._request: Request | None = request
        self._is_grpc = request.is_grpc
        self._start = start
        self._config = config
        self._forms = forms
        if type(start) is Wanted:
            self._own = start.call if request.is_grpc else start.sent
        else:
            self._own = source.first(start)  # type: ignore[arg-type]  # one of two
        self.trace_id, self.span_id = self._own.trace_id, self._own.span_id
        self._sent: SpanContext | None = None
        self._endpoint: UpstreamEndpoint | None = None
        self._unfolded: ClientTrace | None = None
        self.began = self._sent_at = now()

    def attempt(self, send: Send) -> Headers:
        if self._sent is not None:
            return self._written().attempt(send)
        start, self._endpoint = self._start, send.endpoint
        if self._is_grpc:
            self._sent_at = self.now()
        if type(start) is Wanted:
            self._sent = start.sent
            return start.headers
        self._sent = self.source.below(self._own) if self._is_grpc else self._own
        return marks(self._sent, self._forms)

    def attempt_failed(
        self, event: AttemptFailed, endpoint: UpstreamEndpoint | None, at: int
    ) -> None:
        self._written().attempt_failed(event, endpoint, at)

    def ended(self, event: CallEnded, at: int, ejections: Iterable[EndpointEjected]) -> None:
        if self._unfolded is not None or not self._went_well(event):
            self._written().ended(event, at, ejections)
            return
        self._request = None  # which knows its trace
        answer = event.outcome
        bare = Response(answer.status, (), answer.grpc_status)  # type: ignore[union-attr]  # it went well
        record = self._lasting(event.record)
        story = Story(self, CallEnded(record, bare, event.duration), at, ejections)
        tell = self.source.tell
        if self._is_grpc and self._sent is not None:
            tell(LateSpan(self._sent, story))
        tell(LateSpan(self._own, story))

    def _went_well(self, event: CallEnded) -> bool:
        """Only then is all that is to be told of a call still there later.

        Not so if operators of logs ask for it, which may be whatever an answer brought along.
        """
        if event.record.flags or not isinstance(event.outcome, Response):
            return False
        tags = self._tags(event.record)
        return not tags or not any(type(tag.source) is model.FormatterTag for tag in tags)

    def _tags(self, record: CallRecord) -> tuple[model.CustomTag, ...]:
        route, config = record.route, self._config
        own = None if route is None else route.config.tracing
        tags = () if config is None else config.custom_tags
        return tags if own is None else (*tags, *own.custom_tags)

    def _lasting(self, record: CallRecord) -> CallRecord:
        """What is told of a call, without the library's own request and the body that it has."""
        request = record.request
        if type(request) is Request:
            return record
        known = request_id(record)
        headers: Headers = () if known is None else ((REQUEST_ID, known),)
        for tag in self._tags(record):
            if isinstance(tag.source, model.HeaderTag):
                name = tag.source.name.lower()
                headers = (*headers, *[(name, value) for value in request.values(name)])
        bare = Request(
            *(request.target, request.method, request.path, request.authority, request.scheme),
            headers,
        )
        return CallRecord(
            bare,
            record.started,
            route=record.route,
            cluster=record.cluster,
            endpoint=record.endpoint,
            attempts=record.attempts,
            config_version=record.config_version,
            details=record.details,
        )

    def _written(self) -> ClientTrace:
        """What is known so far, written; and what follows will be."""
        if self._unfolded is None:
            request = self._request
            assert request is not None
            self._unfolded = self.unfold(request, self.source.tell)
        return self._unfolded

    def unfold(self, request: Request, tell: Tell) -> ClientTrace:
        """The same call again, up to where it is. ``tell`` hears of its spans when they end."""
        begun, start = Begun(self, tell), self._start
        again = start if isinstance(start, Start) else self.source.again(start.trace_id)
        trace = ClientTrace(
            begun,
            request,
            self._forms,
            called(begun, request, self._config, Context()),
            config=self._config,
            now=begun.now,
            again=partial(again, partial(called, self.source, request, self._config)),
        )
        if self._sent is not None:
            begun.at = self._sent_at
            trace.attempt(Send(request, self._endpoint, None))
        begun.at = None
        return trace

    def begun(self, name: str, attributes: Attributes, tell: Tell) -> PlainSpan:
        start = self._start
        above = start.parent if isinstance(start, Start) else None
        return self.source.made(name, self._own, above, attributes, self.began, tell)

    def sent(self, name: str, attributes: Attributes, tell: Tell) -> PlainSpan:
        assert self._sent is not None
        return self.source.made(name, self._sent, self._own, attributes, self._sent_at, tell)

    def barely(self, at: int) -> list[Any]:
        """The spans without a word."""
        made: list[Any] = []
        if self._is_grpc and self._sent is not None:
            self.sent("", {}, made.append).end(at)
        self.begun("", {}, made.append).end(at)
        return made


class Begun:
    """The first spans of a call are those that it was begun with; ``at``: the time back then."""

    def __init__(self, trace: LateTrace, tell: Tell) -> None:
        self._trace = trace
        self._tell = tell
        self.at: int | None = trace.began

    def now(self) -> int:
        return self._trace.now() if self.at is None else self.at

    def start(self, name: str, here: Context, attributes: Attributes) -> AnySpan:
        return self._trace.begun(name, attributes, self._tell)

    def beneath(self, span: AnySpan, name: str, attributes: Attributes) -> AnySpan:
        if self.at is None:
            return self._trace.source.beneath(span, name, attributes)
        return self._trace.sent(name, attributes, self._tell)


class Story:
    """How a call went, to be told once."""

    __slots__ = ("_at", "_ejections", "_event", "_told", "_trace")

    def __init__(
        self, trace: LateTrace, event: CallEnded, at: int, ejections: Iterable[EndpointEjected]
    ) -> None:
        self._trace = trace
        self._event = event
        self._at = at
        self._ejections = ejections
        self._told: dict[int, dict[str, Any]] | None = None

    def of(self, span_id: int) -> dict[str, Any]:
        """What the span says; whoever asks at the same time gets the same."""
        told = self._told
        if told is None:
            try:
                made = self._made()
            except Exception:  # others that are exported with it do not pay for it
                log.exception("a call could not be told of")
                made = self._trace.barely(self._at)
            told = self._told = {span.context.span_id: span.__dict__ for span in made}
        return told[span_id]

    def _made(self) -> list[Any]:
        made: list[Any] = []  # plain ones
        trace = self._trace.unfold(self._event.record.request, made.append)
        trace.ended(self._event, self._at, self._ejections)
        return made


class LateSpan(ReadableSpan):
    """Blank but for its ids, until anything else of it is read."""

    def __init__(self, own: SpanContext, story: Story) -> None:  # not that of its base, either
        self._context = self._own = own
        self._story = story

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") or name.startswith("__"):
            raise AttributeError(name)
        story = self.__dict__.get("_story")
        if story is not None:
            self.__dict__.update(story.of(self._own.span_id))
            self.__dict__.pop("_story", None)
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None
