"""Headers of those who mean harm."""

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from meshlib.dataplane import CallEnded, CallRecord, Cause, Failure, Meter, Request
from meshlib.model.telemetry import CustomTag, HeaderTag, Tracing
from meshlib.telemetry import Propagation
from meshlib.telemetry.marks import with_baggage
from meshlib.telemetry.propagation import sounded
from meshlib.telemetry.texts import shown_path
from meshlib.telemetry.trace_headers import sound_baggage
from meshlib.telemetry.tracing import Tracer


def test_blanks_in_baggage_cost_no_more_than_they_are() -> None:
    # Were the blanks shared out in all possible ways, this would take longer than the world is old.
    hostile = "k=v" + ";p=  " * 1000 + '"'

    assert sound_baggage(hostile) == ""


def test_of_endless_baggage_no_more_is_looked_at_than_could_go_on() -> None:
    hostile = ";," * 4000 + "a=1," + "x" * 9000 + ",b=2"

    assert sound_baggage(hostile) == "a=1"
    assert sound_baggage(";," * 4000 + "a=1,b=2") == "a=1,b=2"


def test_no_baggage_of_a_program_breaks_its_calls() -> None:
    told = {"k\udcff": "v\udcff", "long": "x" * 9000, "n": "\n\x00é", "ok": "1"}

    ((_, text),) = with_baggage((("baggage", "a=%ff"),), told, alone=False)
    assert text.isascii()
    assert text.isprintable()
    assert sound_baggage(text) == text


@pytest.mark.parametrize("name", ["x-request-id", "baggage", "tracestate", "sw8", "x-tenant"])
def test_no_tab_of_http_goes_where_grpc_would_refuse_the_call(name: str) -> None:
    came = ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")

    kept = sounded([came, (name, "\tk=1\t,\tm\t=2\t")], lists={"x-tenant"})

    assert not any("\t" in value for _, value in kept)
    assert dict(kept).get("x-request-id", "k=1 , m =2") == "k=1 , m =2"


def test_properties_of_baggage_are_kept_with_the_blanks_around_them() -> None:
    said = "k = v ; p ; q =  1 ;r=, bad;=1,other=2;,x=1"

    assert sound_baggage(said) == "k = v ; p ; q =  1 ;r=,x=1"


def test_a_member_of_tracestate_costs_no_more_than_it_is() -> None:
    came = ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")
    hostile = "a" * 256 + "=" + " " * 7900 + "\t"

    assert sounded([came, ("tracestate", hostile)]) == (came,)


GONE = Failure(Cause.RESET, "gone")
WILD = "\udcff\udcfe" + "\x00\r\n" + "w" * 5000


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def propagation(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    config = Tracing(custom_tags=(CustomTag(tag="wild", source=HeaderTag(name="x-wild")),))
    return Propagation(tracing=Tracer(provider, configured=lambda _: config, propagators=""))


@pytest.mark.parametrize("authority", [WILD, "a:" + "9" * 5000, "a:" + "9" * 30, "a:b:c", ":", ""])
@pytest.mark.parametrize("is_grpc", [False, True])
def test_no_caller_keeps_his_span_or_those_of_others_from_being_exported(
    propagation, exporter, authority, is_grpc, caplog
):
    headers = (("user-agent", WILD), ("x-wild", WILD), ("x-request-id", WILD))
    meter = Meter()
    request = Request(
        authority, "GET", f"/{WILD}", authority, headers=headers, is_grpc=is_grpc, meter=meter
    )
    entered = propagation.receive(request)
    record = CallRecord(request, 0.0, inbound=True, details=WILD)
    meter.trace.ended(CallEnded(record, Failure(Cause.RESET, WILD), 0.1), 1, ())
    propagation.release(entered)
    propagation.begin(request)
    meter.trace.ended(CallEnded(CallRecord(request, 0.0), Failure(Cause.RESET, WILD), 0.1), 1, ())
    spans = exporter.get_finished_spans()
    assert encode_spans(spans).SerializeToString()
    assert "Failed to encode" not in caplog.text
    assert spans
    for span in spans:
        assert all(len(str(value)) < 3000 for value in span.attributes.values())


def test_what_an_exporter_sends_over_the_mesh_makes_no_spans_in_turn(exporter):
    calls = []

    class OverTheMesh(InMemorySpanExporter):
        def export(self, spans):
            request = Request("collector:4318", "POST", "/v1/traces", meter=Meter())
            propagation.begin(request)
            calls.append(request)
            if request.meter.trace is not None:
                request.meter.trace.ended(CallEnded(CallRecord(request, 0.0), GONE, 0.1), 1, ())
            return super().export(spans)

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OverTheMesh()))
    propagation = Propagation(tracing=Tracer(provider, propagators=""))
    with provider.get_tracer("app").start_as_current_span("once"):
        pass
    assert [request.meter.trace for request in calls] == [None]


@pytest.mark.parametrize(
    "name",
    ["token", "access_token", "id_token", "Access_Token", "api_key", "apikey", "password", "sig"],
)
def test_no_secret_of_a_query_is_told(name):
    path = f"/a?{name}=hush&b=1&x{name}=2;{name}=hush"
    assert shown_path(path, 256).count("hush") == 0
    assert f"b=1&x{name}=2" in shown_path(path, 256)


def test_what_only_looks_like_a_secret_is_told():
    assert shown_path("/token=1?tokens=2&page_size=3&sign=4", 256).count("REDACTED") == 0
