"""Which spans are made of calls, by whom they are decided, and what they say."""

import contextvars
import time
from base64 import b64decode, b64encode
from collections import deque
from types import SimpleNamespace

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import IdGenerator, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

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
from meshlib.model import Address, Endpoint, NonForwardingAction, Route
from meshlib.model.route import RouteTracing
from meshlib.model.telemetry import (
    CustomTag,
    EnvironmentTag,
    HeaderTag,
    LiteralTag,
    Tracing,
)
from meshlib.telemetry import Propagation
from meshlib.telemetry.observer import Telemetry
from meshlib.telemetry.tracing import Tracer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-2] + "00"
B3 = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1"
METHOD = "/bookinfo.Reviews/Get"


def grpc(*headers, path=METHOD, target="reviews:9080"):
    return Request(target, "POST", path, headers=headers, is_grpc=True, meter=Meter())


def http(*headers, path="/reviews/1?sig=secret&page=2", target="reviews:9080"):
    return Request(target, "GET", path, target, headers=headers, meter=Meter())


def endpoint(port):
    return UpstreamEndpoint(
        Endpoint(address=Address(host="10.0.0.1", port=port)), http2=True, connect_timeout=1.0
    )


class Play:
    """A program with OpenTelemetry, and the events of a mesh."""

    def __init__(self, sampler=None, config=None, propagators="", now=time.time_ns):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler or ParentBased(ALWAYS_ON))
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.config = config
        tracer = Tracer(
            self.provider,
            configured=lambda listener: self.config,
            propagators=propagators,
            now=now,
        )
        self.propagation = Propagation(tracing=tracer, request_id=lambda: "made")
        self.afterwards = deque()
        self.observe = Telemetry(lambda _: None, self.afterwards, unmet=self.propagation.unmet)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def tell(self, event):
        self.observe(event)
        while self.afterwards:
            self.afterwards.popleft()()

    def serve(self, request, handler=lambda: None, outcome=None):
        """A call comes in, and the handler runs."""
        entered = self.propagation.receive(request)
        try:
            answer = handler()
        finally:
            self.propagation.release(entered)
        self.end(request, outcome or Response(200, (), 0 if request.is_grpc else None))
        return answer

    def end(self, request, outcome, record=None, **known):
        record = record or CallRecord(request, 0.0, inbound=True, **known)
        self.tell(CallEnded(record, outcome, 0.25))

    def call(self, request, *outcomes, why="5xx"):
        """A call is made, with an attempt for each outcome; the headers of each."""
        sent = [dict(self.propagation.outgoing())]
        self.propagation.begin(request)
        mark = request.meter.trace
        record = CallRecord(request, 0.0)
        for number, outcome in enumerate(outcomes):
            record.endpoint, record.attempts = endpoint(9000 + number), number + 1
            headers = () if mark is None else mark.attempt(Send(request, record.endpoint, None))
            sent.append({**sent[0], **dict(headers)})
            if number + 1 < len(outcomes):
                self.tell(AttemptFailed(record, outcome, why))
        end = outcomes[-1] if outcomes else Failure(Cause.NO_ENDPOINT, "nobody")
        self.tell(CallEnded(record, end, 0.5))
        return sent[1:]


@pytest.fixture(autouse=True)
def alone():
    """OpenTelemetry's current span of one test is not that of another."""
    token = context.attach(context.Context())
    yield
    context.detach(token)


UNAVAILABLE = Response(503, (), 14)
FINE = Response(200, (), 0)


def ids(header):
    _, trace_id, span_id, flags = header.split("-")
    return int(trace_id, 16), int(span_id, 16), flags


def test_a_grpc_call_is_a_sent_span_with_a_child_for_each_attempt():
    play = Play()
    sent = play.call(grpc(), UNAVAILABLE, FINE)
    first, second, call = play.spans
    assert [span.name for span in play.spans] == [
        "Attempt.bookinfo.Reviews/Get",
        "Attempt.bookinfo.Reviews/Get",
        "Sent.bookinfo.Reviews/Get",
    ]
    assert {span.kind for span in play.spans} == {SpanKind.CLIENT}
    assert first.parent.span_id == second.parent.span_id == call.context.span_id
    assert [span.attributes["previous-rpc-attempts"] for span in (first, second)] == [0, 1]
    assert [ids(one["traceparent"])[1] for one in sent] == [
        first.context.span_id,
        second.context.span_id,
    ]
    assert first.status.status_code is StatusCode.ERROR
    assert first.attributes["rpc.grpc.status_code"] == 14
    assert second.status.status_code is call.status.status_code is StatusCode.UNSET
    assert [event.name for event in first.events] == ["retry"]
    assert [event.name for event in call.events] == ["retry"]
    assert call.events[0].attributes == {"reason": "5xx", "attempt": 1}
    assert second.attributes["meshlib.retry.reason"] == "5xx"
    assert second.attributes["meshlib.retry.backoff_ms"] >= 0


def test_an_attempt_that_reached_nobody_counts_as_none_and_the_next_one_is_transparent():
    play = Play()
    play.call(grpc(), Failure(Cause.CONNECT, "refused"), FINE, why="another endpoint")
    first, second, _ = play.spans
    told = "previous-rpc-attempts", "transparent-retry"
    assert [tuple(map(span.attributes.get, told)) for span in (first, second)] == [
        (0, False),
        (0, True),
    ]
    play.exporter.clear()
    play.call(grpc(), UNAVAILABLE, FINE)
    assert [tuple(map(span.attributes.get, told)) for span in play.spans[:2]] == [
        (0, False),
        (1, False),
    ]


def test_attempts_of_an_http_call_are_siblings():
    play = Play()
    play.serve(http(("traceparent", PARENT)), lambda: play.call(http(), UNAVAILABLE, FINE))
    first, second, served = play.spans
    assert [first.name, second.name, served.name] == ["GET", "GET", "GET"]
    assert first.parent.span_id == second.parent.span_id == served.context.span_id
    assert first.attributes["http.response.status_code"] == 503
    assert first.attributes["error.type"] == "503"
    assert "http.request.resend_count" not in first.attributes
    assert second.attributes["http.request.resend_count"] == 1
    assert second.attributes["url.full"] == "http://reviews:9080/reviews/1?sig=REDACTED&page=2"
    assert second.attributes["server.address"] == "reviews"
    assert second.attributes["server.port"] == 9080
    assert second.attributes["network.peer.port"] == 9001


def test_attempts_of_an_http_call_that_nobody_asked_for_are_of_one_trace():
    play = Play()
    play.call(http(), UNAVAILABLE, FINE)
    first, second = play.spans
    assert first.context.trace_id == second.context.trace_id
    assert first.parent is None
    assert second.parent is None


@pytest.mark.parametrize("made", [grpc, http])
def test_a_call_without_any_attempt_has_one_span(made):
    play = Play()
    play.call(made())
    (span,) = play.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["response_flags"] == "UH"


def test_a_call_that_is_served_is_a_child_of_its_caller_s_and_current_in_its_handler():
    play = Play()
    own = play.provider.get_tracer("application")

    def handler():
        with own.start_as_current_span("work"):
            return play.call(http(), FINE)

    (sent,) = play.serve(grpc(("traceparent", PARENT)), handler)
    made, work, served = play.spans
    assert served.name == "Recv.bookinfo.Reviews/Get"
    assert served.kind is SpanKind.SERVER
    assert served.context.trace_id == int(PARENT[3:35], 16)
    assert served.parent.span_id == int(PARENT[36:52], 16)
    assert work.parent.span_id == served.context.span_id
    assert made.parent.span_id == work.context.span_id
    assert ids(sent["traceparent"]) == (served.context.trace_id, made.context.span_id, "01")
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_thread_that_opentelemetry_does_not_follow_into_is_in_the_trace_all_the_same():
    play = Play()

    def handler():
        bare = contextvars.copy_context()
        bare.run(context.attach, context.Context())
        return bare.run(play.call, grpc(), FINE)

    play.serve(grpc(("traceparent", PARENT)), handler)
    attempt, call, served = play.spans
    assert call.parent.span_id == served.context.span_id
    assert attempt.context.trace_id == served.context.trace_id


@pytest.mark.parametrize("made", [grpc, http])
def test_who_calls_decides_what_is_sampled(made):
    play = Play()
    (sent,) = play.serve(made(("traceparent", UNSAMPLED)), lambda: play.call(made(), FINE))
    assert play.spans == ()
    assert sent["traceparent"] == UNSAMPLED


def test_a_sampler_that_asks_nobody_decides_by_itself():
    play = Play(sampler=ALWAYS_ON)
    play.serve(grpc(("traceparent", UNSAMPLED)), lambda: play.call(grpc(), FINE))
    assert len(play.spans) == 3


@pytest.mark.parametrize("made", [grpc, http])
def test_who_is_not_sampled_tells_those_it_calls(made):
    play = Play(sampler=ParentBased(TraceIdRatioBased(0)))
    (sent,) = play.call(made(), FINE)
    assert play.spans == ()
    assert ids(sent["traceparent"])[2] in {"00", "02"}
    (again,) = play.serve(made(), lambda: play.call(made(), FINE))
    assert play.spans == ()
    assert ids(again["traceparent"])[2] in {"00", "02"}


def test_the_share_of_the_configuration_is_one_of_trace_ids():
    play = Play(config=Tracing(random_sampling=25.0))
    for _ in range(400):
        play.call(http(), FINE)
    low = [span.context.trace_id & ((1 << 64) - 1) for span in play.spans]
    assert 40 <= len(low) <= 160
    assert max(low) < 1 << 62


def test_overall_sampling_bounds_what_is_asked_for():
    play = Play(config=Tracing(random_sampling=0.0, client_sampling=100.0, overall_sampling=100.0))
    play.call(http(), FINE)
    assert play.spans == ()
    play.call(http(("x-client-trace-id", "1")), FINE)
    assert len(play.spans) == 1
    play.config = Tracing(overall_sampling=0.0)
    play.call(http(("x-client-trace-id", "1")), FINE)
    assert len(play.spans) == 1


@pytest.mark.parametrize(
    "headers",
    [
        (("b3", B3),),
        (
            ("x-b3-traceid", B3[:32]),
            ("x-b3-spanid", B3[33:49]),
            ("x-b3-sampled", "1"),
        ),
    ],
)
def test_the_trace_of_a_caller_who_knows_b3_alone_goes_on(headers):
    play = Play()
    (sent,) = play.serve(http(*headers), lambda: play.call(http(), FINE))
    made, served = play.spans
    assert served.context.trace_id == int(B3[:32], 16)
    assert served.parent.span_id == int(B3[33:49], 16)
    assert ids(sent["traceparent"])[:2] == (served.context.trace_id, made.context.span_id)
    if "b3" in dict(headers):
        assert sent["b3"] == f"{B3[:32]}-{made.context.span_id:016x}-1"
    else:
        assert sent["x-b3-traceid"] == B3[:32]
        assert sent["x-b3-spanid"] == f"{made.context.span_id:016x}"
        assert sent["x-b3-sampled"] == "1"


def test_b3_goes_out_where_the_program_wants_it_always():
    (sent,) = Play(propagators="tracecontext,baggage,b3").call(http(), FINE)
    assert sent["b3"].split("-")[0] == sent["traceparent"].split("-")[1]


@pytest.mark.parametrize(("b3", "count"), [("0", 0), ("1", 2), ("d", 2)])
def test_a_decision_alone_holds_too(b3, count):
    play = Play(sampler=ParentBased(ALWAYS_ON), config=Tracing(random_sampling=0.0))
    play.serve(http(("b3", b3)), lambda: play.call(http(), FINE))
    assert len(play.spans) == count


def test_baggage_is_opentelemetry_s_and_what_the_handler_adds_goes_out():
    play = Play()

    def handler():
        assert baggage.get_baggage("user") == "jason"
        token = context.attach(baggage.set_baggage("tier", "gold level"))
        sent = play.call(http(), FINE)
        context.detach(token)
        return [*sent, *play.call(http(), FINE)]

    more, same = play.serve(http(("baggage", "user=jason;p=1")), handler)
    assert set(more["baggage"].split(",")) == {"user=jason", "tier=gold%20level"}
    assert same["baggage"] == "user=jason;p=1"


def test_a_call_that_never_came_to_a_handler_has_its_span():
    play = Play()
    request = grpc(("traceparent", PARENT))
    play.end(request, Failure(Cause.UNAUTHORIZED, "no", 7), details="rbac_access_denied")
    (span,) = play.spans
    assert span.name == "Recv.bookinfo.Reviews/Get"
    assert span.parent.span_id == int(PARENT[36:52], 16)
    assert span.attributes["response_flags"] == "-"
    assert span.attributes["meshlib.details"] == "rbac_access_denied"
    assert [event.name for event in span.events] == ["denied"]
    assert span.end_time - span.start_time == 250_000_000


def test_an_unsampled_call_that_never_came_to_a_handler_has_none():
    play = Play()
    play.end(grpc(("traceparent", UNSAMPLED)), Failure(Cause.UNAUTHORIZED, "no", 7))
    assert play.spans == ()


def test_ejections_and_faults_are_events_of_the_call():
    play = Play()
    request, place = grpc(), endpoint(9000)
    play.propagation.begin(request)
    request.meter.trace.attempt(Send(request, place, None))
    play.tell(EndpointEjected("reviews", place, "consecutive_5xx", 30.0))
    play.tell(EndpointEjected("reviews", endpoint(9001), "consecutive_5xx", 30.0))
    record = CallRecord(request, 0.0, endpoint=place, flags=("DI",), held=2.0)
    play.tell(CallEnded(record, UNAVAILABLE, 0.5))
    call = play.spans[-1]
    assert [(event.name, dict(event.attributes)) for event in call.events] == [
        ("fault injected", {"response_flag": "DI", "delay_s": 2.0}),
        ("outlier ejection", {"upstream_address": "10.0.0.1:9000", "reason": "consecutive_5xx"}),
    ]


def test_tags_of_the_configuration_are_on_every_span(monkeypatch):
    monkeypatch.setenv("REGION", "eu")
    tags = (
        CustomTag(tag="team", source=LiteralTag(value="books")),
        CustomTag(tag="region", source=EnvironmentTag(name="REGION")),
        CustomTag(tag="zone", source=EnvironmentTag(name="NO_ZONE", default_value="a")),
        CustomTag(tag="user", source=HeaderTag(name="End-User")),
        CustomTag(tag="nothing", source=HeaderTag(name="missing")),
    )
    play = Play(config=Tracing(custom_tags=tags, max_path_tag_length=8))
    play.serve(http(("end-user", "jason")), lambda: play.call(http(("end-user", "amy")), FINE))
    made, served = play.spans
    for span, user in ((made, "amy"), (served, "jason")):
        assert span.attributes["team"] == "books"
        assert span.attributes["region"] == "eu"
        assert span.attributes["zone"] == "a"
        assert span.attributes["user"] == user
        assert "nothing" not in span.attributes
    assert served.attributes["url.path"] == "/reviews"


def test_a_route_names_spans_of_http_and_adds_tags():
    tags = (CustomTag(tag="team", source=LiteralTag(value="books")),)
    tracing = RouteTracing(operation="getReviews", custom_tags=tags)
    route = SimpleNamespace(config=Route(action=NonForwardingAction(), tracing=tracing), source="")
    for request, name in ((http(), "getReviews"), (grpc(), None)):
        play = Play()
        record = CallRecord(request, 0.0, inbound=True, route=route)
        token = play.propagation.receive(request)
        play.propagation.release(token)
        play.end(request, FINE, record)
        (span,) = play.spans
        assert span.attributes["team"] == "books"
        assert (span.name == "getReviews") is (name is not None)


def test_the_route_of_the_application_names_what_is_served():
    play = Play()
    request = http()
    request.meter.http_route = "/reviews/{id}"
    play.serve(request, outcome=Response(404))
    (span,) = play.spans
    assert span.name == "GET /reviews/{id}"
    assert span.attributes["http.route"] == "/reviews/{id}"
    assert span.attributes["http.response.status_code"] == 404
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("status", "is_error"), [(0, False), (5, False), (13, True), (14, True), (2, True)]
)
def test_a_server_s_span_fails_by_the_server_s_own_fault_only(status, is_error):
    play = Play()
    play.serve(grpc(), outcome=Response(200, (), status))
    (span,) = play.spans
    assert (span.status.status_code is StatusCode.ERROR) is is_error


def test_without_an_sdk_what_is_current_goes_out_all_the_same():
    propagation = Propagation(tracing=Tracer(), request_id=lambda: "made")
    entered = propagation.receive(http(("traceparent", PARENT), ("baggage", "a=1")))
    assert baggage.get_baggage("a") == "1"
    assert trace.get_current_span().get_span_context().trace_id == int(PARENT[3:35], 16)
    token = context.attach(baggage.set_baggage("b", "2"))
    sent = dict(propagation.outgoing())
    assert sent["traceparent"] == PARENT
    assert sent["baggage"] == "a=1,b=2"
    context.detach(token)
    propagation.release(entered)
    assert propagation.outgoing() == ()


def test_the_trace_of_a_caller_who_knows_grpc_trace_bin_alone_goes_on():
    play = Play()
    came = b"\0\0" + bytes.fromhex(B3[:32]) + b"\1" + bytes.fromhex(B3[33:49]) + b"\2\1"
    request = http(("grpc-trace-bin", b64encode(came).decode()))
    (sent,) = play.serve(request, lambda: play.call(grpc(), FINE))
    attempt, _, served = play.spans
    assert served.context.trace_id == int(B3[:32], 16)
    assert served.parent.span_id == int(B3[33:49], 16)
    octets = b64decode(sent["grpc-trace-bin"])
    assert octets[:19] == came[:19]
    assert octets[19:27] == attempt.context.span_id.to_bytes(8)
    assert octets[27:] == b"\2\1"


@pytest.mark.parametrize("came", [b"", b"\1" * 29, b"\0" * 29, b"\0\0"])
def test_what_is_no_span_of_opencensus_is_not_handed_on(came):
    play = Play()
    request = http(("grpc-trace-bin", b64encode(came).decode()))
    (sent,) = play.serve(request, lambda: play.call(grpc(), FINE))
    assert "grpc-trace-bin" not in sent


def test_attempts_beside_each_other_end_with_the_call():
    play = Play()
    request, places = grpc(), [endpoint(9000), endpoint(9001)]
    play.propagation.begin(request)
    for place in places:
        request.meter.trace.attempt(Send(request, place, None))
    record = CallRecord(request, 0.0, endpoint=places[0], attempts=2)
    play.tell(CallEnded(record, FINE, 0.5))
    given_up, winner, call = play.spans
    assert given_up.attributes["network.peer.port"] == 9001
    assert given_up.attributes["rpc.grpc.status_code"] == 1
    assert winner.attributes["network.peer.port"] == 9000
    assert {span.end_time for span in (given_up, winner)} == {call.end_time}


def test_a_copy_of_a_call_does_not_end_its_span():
    play = Play()
    request = grpc()
    play.propagation.begin(request)
    play.tell(CallEnded(CallRecord(request, 0.0, mirror=True), FINE, 0.1))
    assert play.spans == ()


@pytest.mark.parametrize(("waited", "events"), [(0, []), (10**9, ["Delayed LB pick complete"])])
def test_an_attempt_that_had_to_wait_says_so(waited, events):
    moments = iter([10**18, 10**18 + waited])
    play = Play(now=lambda: next(moments))
    play.call(grpc(), FINE)
    assert [event.name for event in play.spans[0].events] == events


OFF = Tracing(client_sampling=0.0, random_sampling=0.0, overall_sampling=0.0)
"""``disableSpanReporting``"""


@pytest.mark.parametrize("sampler", [ParentBased(ALWAYS_ON), ALWAYS_ON])
@pytest.mark.parametrize("came", [PARENT, UNSAMPLED])
def test_who_reports_no_spans_hands_on_what_came(sampler, came):
    play = Play(sampler, OFF)
    request, call = grpc(("traceparent", came)), grpc(target="ratings:9080")
    entered = play.propagation.receive(request)
    assert dict(play.propagation.outgoing())["traceparent"] == came
    play.propagation.begin(call)
    play.propagation.release(entered)
    assert call.meter.trace is None
    play.observe(CallEnded(CallRecord(request, 0.0, inbound=True), Response(200), 0.1))
    while play.afterwards:
        play.afterwards.popleft()()
    assert play.exporter.get_finished_spans() == ()


def test_a_decision_holds_whatever_the_sampler_makes_of_it_where_a_share_is_configured():
    play = Play(ALWAYS_ON, Tracing(random_sampling=10.0))
    request, call = grpc(("traceparent", UNSAMPLED)), grpc(target="ratings:9080")
    entered = play.propagation.receive(request)
    play.propagation.begin(call)
    play.propagation.release(entered)
    assert not request.meter.trace.sampled
    assert call.meter.trace is None


def test_who_has_disabled_the_sdk_hands_on_what_came_and_begins_nothing(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    propagation = Propagation(tracing=Tracer(TracerProvider()))
    call = http()
    propagation.begin(call)
    assert call.meter.trace is None
    entered = propagation.receive(grpc(("traceparent", PARENT)))
    assert dict(propagation.outgoing())["traceparent"] == PARENT
    propagation.release(entered)


class NoIds(IdGenerator):
    def generate_span_id(self):
        return 0

    generate_trace_id = generate_span_id


def test_ids_that_are_none_do_not_go_out():
    propagation = Propagation(tracing=Tracer(TracerProvider(id_generator=NoIds())))
    call = http()
    propagation.begin(call)
    assert not call.meter.trace.attempt(Send(call, endpoint(1), None))


@pytest.mark.parametrize("flags", ["00", "01", "02", "03"])
def test_that_chance_made_a_trace_is_handed_on(flags):
    play = Play()
    call = grpc(target="ratings:9080")
    entered = play.propagation.receive(grpc(("traceparent", PARENT[:-2] + flags)))
    sent = dict(play.propagation.outgoing())
    play.propagation.begin(call)
    play.propagation.release(entered)
    if call.meter.trace is not None:
        sent |= dict(play.propagation.attempt(Send(call, endpoint(1), None)))
    assert sent["traceparent"][-2:] == flags
