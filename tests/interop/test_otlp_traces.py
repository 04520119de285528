"""One trace across processes, as a collector of OpenTelemetry's protocol receives it.

Bookinfo's own programs, each of which calls ``meshlib.telemetry.setup()`` first: productpage is
aiohttp, reviews gRPC on asyncio, ratings gRPC on threads.
"""

import json
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from meshlib import Mesh
from meshlib.telemetry.tracing import Tracer

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

BOOKINFO = Path(__file__).parents[2] / "examples" / "bookinfo"
BEGIN = """
import sys
from pathlib import Path

if sys.orig_argv[1].endswith(".py"):
    from meshlib.telemetry import setup

    setup(Path(sys.orig_argv[1]).stem)
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
W3C = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
B3 = {"b3": f"{TRACE}-{CALLER}-1"}
B3_MULTI = {"x-b3-traceid": TRACE, "x-b3-spanid": CALLER, "x-b3-sampled": "1"}


class Collector(otlp_grpc.TraceServiceServicer):
    """Keeps each span with the name of its service."""

    def __init__(self):
        self._news = threading.Condition()
        self._spans = []

    def Export(self, request, context):
        with self._news:
            for resource in request.resource_spans:
                named = {a.key: a.value.string_value for a in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self._spans += [(named["service.name"], span) for span in scope.spans]
            self._news.notify_all()
        return otlp.ExportTraceServiceResponse()

    def trace(self, trace_id, is_complete, patience=20.0):
        """The spans of a trace, once they are all there."""

        def found():
            return [(s, span) for s, span in self._spans if span.trace_id.hex() == trace_id]

        with self._news:
            complete = self._news.wait_for(lambda: is_complete(found()), patience)
            spans = found()
        assert complete, [(service, span.name) for service, span in spans]
        return spans


@pytest.fixture(scope="module")
def collector():
    made = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    otlp_grpc.add_TraceServiceServicer_to_server(made, server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield made
    server.stop(None).wait()


@pytest.fixture(scope="module")
def bookinfo(collector, tmp_path_factory):
    """The programs, of which the end-user jason gets the red stars and everybody else none."""
    sys.path.insert(0, str(BOOKINFO))
    try:
        from fleet import Fleet
    finally:
        sys.path.remove(str(BOOKINFO))
    folder = tmp_path_factory.mktemp("bookinfo")
    (folder / "begin").mkdir()
    (folder / "begin" / "sitecustomize.py").write_text(BEGIN)
    variables = pytest.MonkeyPatch()
    variables.setenv("PYTHONPATH", f"{BOOKINFO.parents[1] / 'src'}:{folder / 'begin'}")
    variables.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
    variables.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    variables.setenv("OTEL_METRICS_EXPORTER", "none")
    fleet = Fleet(folder / "mesh", folder / "logs")
    try:
        fleet.prepare()
        (fleet.folder / "reviews.yaml").write_text(RULES)
        fleet.start_control_plane()
        fleet.start_workloads()
        yield fleet
    finally:
        fleet.stop()
        variables.undo()


RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: broken
    match: [{headers: {browser: {exact: broken}}}]
    fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}
    route: [{destination: {host: reviews, subset: v2}}]
  - name: canary
    match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v3}}]
  - name: stable
    route: [{destination: {host: reviews, subset: v2}}]
"""


def ask(fleet, headers):
    request = urllib.request.Request(fleet.url("/productpage"), headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def edges(spans):
    """Who is below whom, by service and name; the caller outside is ``None``."""
    by_id = {span.span_id: (service, span.name) for service, span in spans}
    return {((service, span.name), by_id.get(span.parent_span_id)) for service, span in spans}


PAGE = ("productpage", "GET /productpage")
CALLS = {
    (PAGE, None),
    (("productpage", "GET"), PAGE),
    (("details", "GET /details/{book}"), ("productpage", "GET")),
    (("productpage", "Sent.bookinfo.Reviews/Get"), PAGE),
    (
        ("productpage", "Attempt.bookinfo.Reviews/Get"),
        ("productpage", "Sent.bookinfo.Reviews/Get"),
    ),
    (("reviews", "Recv.bookinfo.Reviews/Get"), ("productpage", "Attempt.bookinfo.Reviews/Get")),
    (("reviews", "Sent.bookinfo.Ratings/Get"), ("reviews", "Recv.bookinfo.Reviews/Get")),
    (("reviews", "Attempt.bookinfo.Ratings/Get"), ("reviews", "Sent.bookinfo.Ratings/Get")),
    (("ratings", "Recv.bookinfo.Ratings/Get"), ("reviews", "Attempt.bookinfo.Ratings/Get")),
}


@pytest.mark.parametrize(("number", "headers"), [(1, W3C), (2, B3), (3, B3_MULTI)])
def test_a_page_is_one_unbroken_trace(bookinfo, collector, number, headers):
    trace_id = f"{number:x}{TRACE[1:]}"
    headers = {name: value.replace(TRACE, trace_id) for name, value in headers.items()}
    page = ask(bookinfo, {**headers, "end-user": "jason"})
    assert page["reviews"] == "v3"
    spans = collector.trace(trace_id, lambda found: len(found) >= len(CALLS))
    assert edges(spans) == CALLS
    assert len(spans) == len(CALLS)
    (first,) = [span for service, span in spans if (service, span.name) == PAGE]
    assert first.parent_span_id.hex() == CALLER
    assert first.kind == Span.SPAN_KIND_SERVER


def test_everybody_else_is_traced_to_the_stable_version(bookinfo, collector):
    trace_id = "9" + TRACE[1:]
    page = ask(bookinfo, {"traceparent": f"00-{trace_id}-{CALLER}-01", "end-user": "amy"})
    assert page["reviews"] == "v2"
    spans = collector.trace(trace_id, lambda found: len(found) >= len(CALLS))
    assert edges(spans) == CALLS


def test_an_unsampled_page_is_traced_nowhere(bookinfo, collector):
    trace_id, after = "a" + TRACE[1:], "b" + TRACE[1:]
    page = ask(bookinfo, {"traceparent": f"00-{trace_id}-{CALLER}-00"})
    hops = [hop["trace"] for hop in page["hops"]]
    assert hops == [f"00-{trace_id}-{CALLER}-00"] * len(hops)
    ask(bookinfo, {"traceparent": f"00-{after}-{CALLER}-01"})
    collector.trace(after, lambda found: len(found) >= len(CALLS))
    assert collector.trace(trace_id, lambda found: not found) == []


def test_a_fault_is_told_by_the_call_that_met_it(bookinfo, collector):
    trace_id = "c" + TRACE[1:]
    headers = {"traceparent": f"00-{trace_id}-{CALLER}-01", "browser": "broken"}
    with pytest.raises(urllib.error.HTTPError):
        ask(bookinfo, headers)
    spans = collector.trace(trace_id, lambda found: any(span.name == PAGE[1] for _, span in found))
    (call,) = [span for _, span in spans if span.name == "Sent.bookinfo.Reviews/Get"]
    assert [event.name for event in call.events] == ["fault injected"]
    assert call.status.code == Status.STATUS_CODE_ERROR
    said = {a.key: a.value for a in call.attributes}
    assert said["response_flags"].string_value == "FI"
    assert said["meshlib.route"].string_value == "broken"
    assert not [span for _, span in spans if span.name == "Attempt.bookinfo.Reviews/Get"]


# --- attempts of one call ---


RETRIES = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "reviews"},
    "spec": {
        "hosts": ["reviews"],
        "http": [
            {
                "route": [{"destination": {"host": "reviews"}}],
                "retries": {"attempts": 2, "retryOn": "5xx,unavailable", "backoff": "1ms"},
            }
        ],
    },
}


@pytest.fixture
def exporting(collector, reviews_at):
    """Makes members whose spans go to the collector at once."""
    made = TracerProvider()
    exporter = OTLPSpanExporter(f"http://127.0.0.1:{collector.port}")
    made.add_span_processor(SimpleSpanProcessor(exporter))

    def member(port, protocol):
        mesh = Mesh("productpage", config=[reviews_at(port, protocol), RETRIES])
        mesh._seen.propagation._tracing = Tracer(made)
        return mesh

    member.page = made.get_tracer("test").start_as_current_span("page")
    yield member
    made.shutdown()


def siblings(spans, name):
    """The attempts, in their order; each must be a child of one and the same span."""
    attempts = sorted(
        (span for _, span in spans if span.name == name), key=lambda span: span.start_time_unix_nano
    )
    assert len({span.parent_span_id for span in attempts}) == 1
    assert len({span.span_id for span in attempts}) == len(attempts)
    return attempts, attempts[0].parent_span_id


def test_attempts_of_a_retried_grpc_call_are_siblings(exporting, collector):
    asked = []

    def get(request, context):
        asked.append(dict(context.invocation_metadata())["traceparent"])
        if len(asked) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return b"fine"

    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(get)
    handlers = grpc.method_handlers_generic_handler("bookinfo.Reviews", {"Get": handler})
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with (
        exporting(port, "grpc") as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
        exporting.page as page,
    ):
        assert channel.unary_unary("/bookinfo.Reviews/Get")(b"") == b"fine"
    server.stop(None).wait()
    trace_id = f"{page.get_span_context().trace_id:032x}"
    spans = collector.trace(trace_id, lambda found: len(found) == 5)
    attempts, above = siblings(spans, "Attempt.bookinfo.Reviews/Get")
    assert [one.split("-")[2] for one in asked] == [span.span_id.hex() for span in attempts]
    assert above == next(s.span_id for _, s in spans if s.name == "Sent.bookinfo.Reviews/Get")
    failed = [span.status.code == Status.STATUS_CODE_ERROR for span in attempts]
    assert failed == [True, True, False]


async def test_attempts_of_a_retried_http_call_are_siblings(exporting, collector):
    asked = []

    async def get(request):
        asked.append(request.headers["traceparent"])
        return web.Response(status=200 if len(asked) == 3 else 503)

    app = web.Application()
    app.router.add_get("/", get)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with exporting(port, "http") as mesh, mesh.aiohttp.session() as session:
        with exporting.page as page:
            async with session.get("http://reviews:9080/") as answer:
                assert answer.status == 200
    await runner.cleanup()
    trace_id = f"{page.get_span_context().trace_id:032x}"
    spans = collector.trace(trace_id, lambda found: len(found) == 4)
    attempts, above = siblings(spans, "GET")
    assert [one.split("-")[2] for one in asked] == [span.span_id.hex() for span in attempts]
    assert above == page.get_span_context().span_id.to_bytes(8)
    resent = [
        a.value.int_value
        for span in attempts
        for a in span.attributes
        if a.key == "http.request.resend_count"
    ]
    assert resent == [1, 2]
