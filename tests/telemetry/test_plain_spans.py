"""Spans that the mesh writes by itself are those that the SDK would have made."""

import gc
import itertools
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)

from meshlib.dataplane import (
    AttemptFailed,
    CallEnded,
    CallRecord,
    Cause,
    EndpointEjected,
    Failure,
    Meter,
    Request,
    Response,
    Send,
    UpstreamEndpoint,
)
from meshlib.model import Address, Endpoint
from meshlib.model.telemetry import CustomTag, FormatterTag, HeaderTag, LiteralTag, Tracing
from meshlib.telemetry import Propagation
from meshlib.telemetry.plain_spans import PlainSpans, plain_spans
from meshlib.telemetry.tracing import Tracer

ID_1, ID_2 = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
PLACE = Endpoint(address=Address(host="10.0.0.1", port=9080))
OK = Response(200, (), 0)


class Looking(SpanProcessor):
    """Wants to see spans begin; so they have to be the SDK's own."""

    def __init__(self):
        self.begun = []

    def on_start(self, span, parent_context=None):
        self.begun.append(span.name)


class Counting:
    """Ids one after the other."""

    def __init__(self):
        self._ids = itertools.count(1)

    def generate_trace_id(self):
        return next(self._ids)

    def generate_span_id(self):
        return next(self._ids)

    def is_trace_id_random(self):
        return True


def provided(*processors, sampler=None, ids=Counting, **more):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler or ParentBased(ALWAYS_ON), id_generator=ids(), **more)
    for processor in (SimpleSpanProcessor(exporter), *processors):
        provider.add_span_processor(processor)
    return provider, exporter


def share(provider):
    tracer = Tracer(provider)
    assert tracer.tracer is not None
    return plain_spans(tracer.tracer, tracer._share)


def grpc():
    return Request("reviews:9080", "POST", "/bookinfo.Reviews/Get", is_grpc=True, meter=Meter())


def http():
    return Request("reviews:9080", "GET", "/reviews/1?sig=secret", "reviews:9080", meter=Meter())


def retried(request, begin, told):
    endpoint = UpstreamEndpoint(PLACE, http2=True, connect_timeout=1.0)
    begin(request)
    mark, record = request.meter.trace, CallRecord(request, 0.0)
    record.flags = (*record.flags, "DI")
    headers = []
    for number, outcome in enumerate((Failure(Cause.CONNECT, "refused"), OK)):
        record.endpoint, record.attempts = endpoint, number + 1
        headers.append(mark.attempt(Send(request, endpoint, None)))
        if number == 0:
            mark.attempt_failed(AttemptFailed(record, outcome, "connect-failure"), endpoint, 7)
    ejected = EndpointEjected("reviews", endpoint, "5xx", 30.0)
    mark.ended(CallEnded(record, told, 0.5), 10**19, (ejected,))
    return headers


def once(request, begin, told, attempts=1):
    """A call that is answered at once, well or not; of some nobody is asked."""
    endpoint = UpstreamEndpoint(PLACE, http2=True, connect_timeout=1.0)
    begin(request)
    mark, record = request.meter.trace, CallRecord(request, 0.0)
    headers = []
    for _ in range(attempts):
        record.endpoint, record.attempts = endpoint, 1
        headers.append(mark.attempt(Send(request, endpoint, None)))
    mark.ended(CallEnded(record, told, 0.5), 10**19, ())
    return headers


def hedged(request, begin, told):
    return once(request, begin, told, attempts=2)


def unasked(request, begin, told):
    return once(request, begin, told, attempts=0)


def plainly(span):
    attributes = dict(span.attributes)
    attributes.pop("meshlib.retry.backoff_ms", None)
    return {
        "name": span.name,
        "own": span.context,
        "parent": span.parent,
        "kind": span.kind,
        "attributes": attributes,
        "events": [(one.name, one.timestamp, dict(one.attributes)) for one in span.events],
        "links": span.links,
        "status": (span.status.status_code, span.status.description),
        "end": span.end_time,
        "resource": span.resource,
        "scope": span.instrumentation_scope,
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
    }


ABOVE = {
    "none": context.Context(),
    "of the program": trace.set_span_in_context(
        trace.NonRecordingSpan(
            trace.SpanContext(
                ID_1, ID_2, False, trace.TraceFlags(3), trace.TraceState([("vendor", "1")])
            )
        ),
        context.Context(),
    ),
}


@pytest.mark.parametrize("above", ABOVE)
@pytest.mark.parametrize("made", [grpc, http])
@pytest.mark.parametrize("told", [OK, Failure(Cause.TIMEOUT, "no answer"), Response(503, (), 14)])
@pytest.mark.parametrize("call", [once, retried, hedged, unasked])
def test_a_span_of_the_mesh_is_the_one_that_the_sdk_makes(above, made, told, call):
    seen = []
    for lookers in ((), (Looking(),)):
        provider, exporter = provided(*lookers)
        propagation = Propagation(tracing=Tracer(provider))
        token = context.attach(ABOVE[above])
        try:
            headers = call(made(), propagation.begin, told)
        finally:
            context.detach(token)
        spans = exporter.get_finished_spans()
        assert all(span.start_time > 10**18 for span in spans)
        seen.append((headers, [plainly(span) for span in spans]))
    resources = [one.pop("resource").attributes for _, spans in seen for one in spans]
    assert all(one == resources[0] for one in resources)
    assert seen[0] == seen[1]
    assert seen[0][1]


def numbered(seen):
    """Random ids by the order in which they come: whose they are, and not which."""
    known = {}

    def number(one):
        return known.setdefault(one, len(known))

    headers, spans = seen
    for span in spans:
        for place in ("own", "parent"):
            if span[place] is not None:
                own = span[place]
                span[place] = number(own.trace_id), number(own.span_id), *own[2:]
    parents = [value.split("-") for pairs in headers for _, value in pairs]
    told = [(number(int(one[1], 16)), number(int(one[2], 16)), one[3]) for one in parents]
    return told, spans


@pytest.mark.parametrize("made", [grpc, http])
@pytest.mark.parametrize("told", [OK, Failure(Cause.TIMEOUT, "no answer")])
@pytest.mark.parametrize("call", [once, retried, hedged, unasked])
def test_a_trace_that_was_drawn_ahead_is_the_one_that_the_sdk_begins(made, told, call):
    seen = []
    for lookers in ((), (Looking(),)):
        provider, exporter = provided(*lookers, ids=RandomIdGenerator)
        headers = call(made(), Propagation(tracing=Tracer(provider)).begin, told)
        spans = [plainly(span) for span in exporter.get_finished_spans()]
        for span in spans:
            del span["resource"]
        seen.append(numbered((headers, spans)))
    assert seen[0] == seen[1]
    assert seen[0][1]


def test_who_looks_at_spans_as_they_begin_gets_the_sdks_own_from_then_on():
    provider, exporter = provided()
    propagation = Propagation(tracing=Tracer(provider))
    retried(grpc(), propagation.begin, OK)
    looking = Looking()
    provider.add_span_processor(looking)
    retried(grpc(), propagation.begin, OK)
    assert looking.begun == ["Sent.bookinfo.Reviews/Get", *["Attempt.bookinfo.Reviews/Get"] * 2]
    assert len(exporter.get_finished_spans()) == 6


class Whimsical(Sampler):
    def should_sample(self, *arguments, **more):
        return ALWAYS_ON.should_sample(*arguments, **more)

    def get_description(self):
        return "whimsical"


@pytest.mark.parametrize(
    ("sampler", "known"),
    [
        (ALWAYS_ON, True),
        (ParentBased(ALWAYS_ON), True),
        (ParentBased(ALWAYS_OFF), True),
        (ParentBased(TraceIdRatioBased(0.5)), True),
        (ParentBasedTraceIdRatio(0.5), True),
        (ParentBased(Whimsical()), False),
        (ParentBased(ALWAYS_ON, local_parent_sampled=Whimsical()), False),
        (TraceIdRatioBased(0.5), False),
        (Whimsical(), False),
    ],
)
def test_a_sampler_that_is_not_known_is_asked_about_every_span(sampler, known):
    provider, _ = provided(sampler=sampler)
    assert isinstance(share(provider), PlainSpans) is known


@pytest.mark.parametrize(
    "limits", [SpanLimits(max_span_attributes=3), SpanLimits(max_span_attribute_length=5)]
)
def test_limits_of_the_program_are_the_sdks_to_keep(limits):
    provider, _ = provided(span_limits=limits)
    assert share(provider) is None


def test_a_trace_that_a_caller_wants_is_still_the_samplers_to_begin():
    provider, exporter = provided(sampler=ParentBased(TraceIdRatioBased(0.0)))
    propagation = Propagation(tracing=Tracer(provider))
    served = Request("", "GET", "/", headers=(("x-b3-sampled", "1"),), meter=Meter())
    token = propagation.receive(served)
    request = grpc()
    try:
        propagation.begin(request)
    finally:
        propagation.release(token)
    assert not exporter.get_finished_spans()
    assert request.meter.trace is None or not request.meter.trace.sampled


class Keeping(SpanExporter):
    """Looks at nothing."""

    def __init__(self):
        self.spans = []

    def export(self, spans):
        self.spans += spans
        return SpanExportResult.SUCCESS


class Answer:
    """What a library has of a call, as large as it may be."""


def kept(made, told=OK):
    """What exporters are given of a call that went well, unread."""
    keeping = Keeping()
    provider = TracerProvider(ParentBased(ALWAYS_ON))
    provider.add_span_processor(BatchSpanProcessor(keeping))
    once(made(), Propagation(tracing=Tracer(provider)).begin, told)
    provider.force_flush()
    provider.shutdown()
    return keeping.spans


class Wrapped(Request):
    """As a library's own request is seen, with all that belongs to it."""

    __slots__ = ("native",)


class Answered(Response):
    """The like of an answer."""

    __slots__ = ()


def test_spans_that_wait_to_be_exported_keep_no_body_alive():
    answer, question = Answer(), Answer()
    gone = weakref.ref(answer), weakref.ref(question)

    def made(question=question):
        headers = (("x-request-id", "1234"),)
        request = Wrapped("reviews:9080", "POST", "/", headers=headers, meter=Meter())
        request.native = question
        return request

    spans = kept(made, Answered(200, (), None, b"", answer))
    del answer, question, made
    assert [one() for one in gone] == [None, None]
    (span,) = spans
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["guid:x-request-id"] == "1234"


@pytest.mark.parametrize(
    ("made", "told"), [(grpc, OK), (http, Response(404)), (http, Answered(200))]
)
def test_nothing_is_written_of_a_call_that_was_answered_before_somebody_reads_it(made, told):
    for span in kept(made, told):
        assert "_attributes" not in vars(span)
        assert span.attributes
        assert "_attributes" in vars(span)


@pytest.mark.parametrize("made", [grpc, http])
def test_what_is_told_of_a_call_is_gone_when_it_was_exported(made):
    provider, exporter = provided()
    propagation = Propagation(tracing=Tracer(provider))
    once(made(), propagation.begin, OK)
    exporter.clear()
    gc.collect()
    once(made(), propagation.begin, OK)
    exporter.clear()
    assert gc.collect() == 0


@pytest.mark.parametrize("made", [grpc, http])
def test_exporters_that_read_at_the_same_time_read_the_same(made):
    for _ in range(20):
        spans = kept(made)
        start = threading.Barrier(4)

        def read(spans=spans, start=start):
            start.wait()
            return [span.to_json() for span in spans]

        with ThreadPoolExecutor(4) as readers:
            read_by = [one.result() for one in [readers.submit(read) for _ in range(4)]]
        assert all(one == read_by[0] for one in read_by)


class Broken:
    @property
    def name(self):
        raise LookupError("no name")


@pytest.mark.parametrize(("made", "count"), [(grpc, 2), (http, 1)])
def test_what_cannot_be_told_of_one_call_loses_nobody_elses_span(made, count, caplog):
    keeping = Keeping()
    provider = TracerProvider(ParentBased(ALWAYS_ON))
    provider.add_span_processor(BatchSpanProcessor(keeping))
    request = made()
    Propagation(tracing=Tracer(provider)).begin(request)
    mark, endpoint = request.meter.trace, UpstreamEndpoint(PLACE, http2=True, connect_timeout=1.0)
    mark.attempt(Send(request, endpoint, None))
    mark.ended(CallEnded(CallRecord(request, 0.0, cluster=Broken()), OK, 0.5), 10**19, ())
    provider.shutdown()
    assert [span.name for span in keeping.spans] == [""] * count
    assert {span.end_time for span in keeping.spans} == {10**19}
    assert "a call could not be told of" in caplog.text


@pytest.mark.parametrize("name", ["_nothing_of_the_kind", "nothing", "__len__"])
def test_a_span_has_nothing_that_spans_have_not(name):
    for span in kept(grpc):
        assert not hasattr(span, name)
        assert not hasattr(span, name)


def test_what_a_tag_says_of_an_answer_is_written_while_it_is_there():
    tags = (
        CustomTag(tag="team", source=LiteralTag(value="books")),
        CustomTag(tag="user", source=HeaderTag(name="end-user")),
    )
    asked = CustomTag(tag="server", source=FormatterTag(value="%RESP(server)%"))
    answer = Response(200, (("server", "gunicorn"),), None)
    seen = []
    for config in (Tracing(custom_tags=tags), Tracing(custom_tags=(*tags, asked))):
        provider, exporter = provided()
        tracer = Tracer(provider, configured=lambda _, config=config: config)
        once(
            Request("reviews:9080", "GET", "/", headers=(("end-user", "jason"),), meter=Meter()),
            Propagation(tracing=tracer).begin,
            answer,
        )
        (span,) = exporter.get_finished_spans()
        seen.append([span.attributes.get(name) for name in ("team", "user", "server")])
    assert seen == [["books", "jason", None], ["books", "jason", "gunicorn"]]


def test_a_call_is_told_of_as_it_was_when_it_ended():
    request = grpc()
    keeping = Keeping()
    provider = TracerProvider(ParentBased(ALWAYS_ON))
    provider.add_span_processor(BatchSpanProcessor(keeping))
    before = time.time_ns()
    once(request, Propagation(tracing=Tracer(provider)).begin, OK)
    after = time.time_ns()
    provider.shutdown()
    attempt, call = keeping.spans
    assert before <= call.start_time <= attempt.start_time <= after
    assert call.end_time == attempt.end_time == 10**19
    assert attempt.parent == call.context
    assert call.context.trace_id == request.meter.trace.trace_id
