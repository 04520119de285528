"""``meshlib.telemetry.setup()``, each time in a program of its own."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc

SPAN = """
from opentelemetry import trace
with trace.get_tracer("app").start_as_current_span("work"):
    pass
"""
RECORD = """
from opentelemetry._logs import LogRecord, get_logger
get_logger("calls").emit(LogRecord(body="a call"))
"""


@pytest.fixture
def run(root):
    """What a program prints, which has these variables and no others of OpenTelemetry's."""

    def play(program, **variables):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "MESHLIB_"))}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**kept, "PYTHONPATH": str(root / "src"), **variables},
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return play


class Collector:
    def __init__(self):
        self.heard = []
        self.asked = []
        self.records = []

    def note(self, kind, resources):
        for one in resources:
            named = {a.key: a.value.string_value for a in one.resource.attributes}
            spans = [span.name for scope in getattr(one, "scope_spans", ()) for span in scope.spans]
            self.heard.append((kind, named, spans))

    def note_logs(self, request):
        for one in request.resource_logs:
            named = {a.key: a.value.string_value for a in one.resource.attributes}
            kept = [record for scope in one.scope_logs for record in scope.log_records]
            self.records += [(named["service.name"], each.body.string_value) for each in kept]

    @property
    def traces(self):
        return [(named, spans) for kind, named, spans in self.heard if kind == "traces"]


@pytest.fixture
def by_grpc():
    heard = Collector()

    class Traces(traces_grpc.TraceServiceServicer):
        def Export(self, request, context):
            heard.asked.append(dict(context.invocation_metadata()))
            heard.note("traces", request.resource_spans)
            return traces.ExportTraceServiceResponse()

    class Metrics(metrics_grpc.MetricsServiceServicer):
        def Export(self, request, context):
            heard.asked.append(dict(context.invocation_metadata()))
            heard.note("metrics", request.resource_metrics)
            return metrics.ExportMetricsServiceResponse()

    class Logs(logs_grpc.LogsServiceServicer):
        def Export(self, request, context):
            heard.note_logs(request)
            return logs.ExportLogsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    logs_grpc.add_LogsServiceServicer_to_server(Logs(), server)
    traces_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    heard.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield heard
    server.stop(None).wait()


@pytest.fixture
def by_http():
    heard = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.asked.append(dict(self.headers))
            if self.path == "/v1/traces":
                request = traces.ExportTraceServiceRequest.FromString(body)
                heard.note("traces", request.resource_spans)
            elif self.path == "/v1/logs":
                heard.note_logs(logs.ExportLogsServiceRequest.FromString(body))
            else:
                assert self.path == "/v1/metrics"
                request = metrics.ExportMetricsServiceRequest.FromString(body)
                heard.note("metrics", request.resource_metrics)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    heard.url = f"http://127.0.0.1:{server.server_port}"
    yield heard
    server.shutdown()
    thread.join()
    server.server_close()


def test_traces_and_metrics_go_by_grpc_when_the_program_ends(run, by_grpc):
    program = f"""
import meshlib.telemetry
first = meshlib.telemetry.setup("reviews", {by_grpc.url!r}, version="v2", headers={{"team": "a"}})
assert meshlib.telemetry.setup() is first
print(first.traces, first.metrics)
{SPAN}"""
    assert run(program, MESHLIB_NAMESPACE="books") == "True True"
    ((named, spans),) = by_grpc.traces
    assert spans == ["work"]
    assert named["service.name"] == "reviews"
    assert named["service.version"] == "v2"
    assert named["service.namespace"] == "books"
    assert named["host.name"]
    assert {kind for kind, *_ in by_grpc.heard} == {"traces", "metrics"}
    assert {asked["team"] for asked in by_grpc.asked} == {"a"}


def test_they_go_by_http_where_the_variables_say_so(run, by_http):
    said = run(
        f"import meshlib.telemetry\nprint(meshlib.telemetry.setup().traces)\n{SPAN}",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_ENDPOINT=by_http.url,
        OTEL_SERVICE_NAME="reviews",
        MESHLIB_SERVICE="other",
    )
    assert said == "True"
    ((named, spans),) = by_http.traces
    assert (named["service.name"], spans) == ("reviews", ["work"])


def test_records_of_logs_go_where_the_rest_goes(run, by_grpc, by_http):
    program = "import meshlib.telemetry\nprint(meshlib.telemetry.setup({given}).logs)\n" + RECORD
    assert run(program.format(given=f"'page', {by_grpc.url!r}")) == "True"
    assert by_grpc.records == [("page", "a call")]
    variables = {
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{by_http.url}/v1/logs",
        "OTEL_EXPORTER_OTLP_ENDPOINT": by_grpc.url,
    }
    assert run(program.format(given="'reviews'"), **variables) == "True"
    assert by_http.records == [("reviews", "a call")]


def test_an_endpoint_that_is_given_is_one_for_all_signals(run, by_http):
    run(
        "import meshlib.telemetry\n"
        f"meshlib.telemetry.setup(endpoint={by_http.url!r}, protocol='http/protobuf')\n{SPAN}",
        MESHLIB_SERVICE="reviews",
    )
    ((named, _),) = by_http.traces
    assert named["service.name"] == "reviews"


def test_instrumentors_do_not_trace_what_is_exported(run, by_grpc):
    program = f"""
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
GrpcInstrumentorClient().instrument()
import meshlib.telemetry
meshlib.telemetry.setup(endpoint={by_grpc.url!r})
{SPAN}"""
    run(program, OTEL_METRIC_EXPORT_INTERVAL="100", OTEL_BSP_SCHEDULE_DELAY="10")
    assert [name for _, spans in by_grpc.traces for name in spans] == ["work"]


def test_the_sampler_is_that_of_the_variables(run, by_grpc):
    run(
        f"import meshlib.telemetry\nmeshlib.telemetry.setup(endpoint={by_grpc.url!r})\n{SPAN}",
        OTEL_TRACES_SAMPLER="always_off",
    )
    assert by_grpc.traces == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, [False, False, False]),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, [False, False, True]),
        ({"OTEL_METRICS_EXPORTER": "none"}, [True, False, True]),
        ({"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}, [True, False, False]),
    ],
)
def test_what_is_not_wanted_is_not_begun(run, variables, said):
    program = """
import json, meshlib.telemetry
made = meshlib.telemetry.setup(endpoint="http://127.0.0.1:1")
print(json.dumps([made.traces, made.metrics, made.logs]))
"""
    assert json.loads(run(program, **variables)) == said


def test_a_provider_of_the_program_s_own_stays(run):
    program = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
own = TracerProvider()
trace.set_tracer_provider(own)
import meshlib.telemetry
from opentelemetry import _logs
from opentelemetry.sdk._logs import LoggerProvider
logs = LoggerProvider()
_logs.set_logger_provider(logs)
made = meshlib.telemetry.setup(endpoint="http://127.0.0.1:1")
assert not made.traces and not made.logs
assert trace.get_tracer_provider() is own
assert _logs.get_logger_provider() is logs
"""
    run(program, OTEL_METRICS_EXPORTER="none")


REFUSED = """
import sys
{before}
import meshlib.telemetry
from meshlib.errors import ConfigError
try:
    meshlib.telemetry.setup({given})
except ConfigError as refused:
    print(refused)
from opentelemetry import trace
assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
"""


def test_who_has_no_exporter_is_told_what_to_install(run):
    before = "sys.modules['opentelemetry.exporter.otlp.proto.grpc.metric_exporter'] = None"
    said = run(REFUSED.format(before=before, given=""))
    assert "pip install opentelemetry-exporter-otlp-proto-grpc" in said


@pytest.mark.parametrize(
    ("given", "variables", "where"),
    [
        ("protocol='http/json'", {}, "protocol: 'http/json' is neither"),
        ("", {"OTEL_EXPORTER_OTLP_PROTOCOL": "udp"}, "OTEL_EXPORTER_OTLP_PROTOCOL: 'udp'"),
        (
            "",
            {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "udp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'udp'",
        ),
        ("", {"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: 'zipkin'"),
        ("", {"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "could not convert string to float: 'soon'"),
        ("", {"OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, "zstd"),
        ("", {"OTEL_BSP_MAX_QUEUE_SIZE": "-5"}, "OTEL_… variables: max_queue_size"),
        ("endpoint='http://[here'", {}, "Invalid IPv6 URL"),
        ("endpoint=4317", {}, "setup: endpoint: 4317 is not a text"),
        ("headers='a=b'", {}, "setup: headers: 'a=b' is not a mapping of texts to texts"),
        ("attributes={'pid': 7}", {}, "setup: attributes: {'pid': 7} is not a mapping of texts"),
    ],
)
def test_what_nobody_can_do_is_refused(run, given, variables, where):
    assert where in run(REFUSED.format(before="", given=given), **variables)


def test_importing_telemetry_imports_nothing_of_opentelemetry(run):
    program = """
import sys, meshlib, meshlib.telemetry
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    assert run(program) == "[]"
