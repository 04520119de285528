"""``meshlib.telemetry.setup()`` sends what a program's calls were to an OTLP collector."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as services

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

PROGRAM = """
import sys
import meshlib
from meshlib.telemetry import setup

assert setup("productpage", sys.argv[1]).metrics
with meshlib.Mesh("productpage", version="v1") as mesh:
    call = mesh.guard("reviews:9080", method="GET")(lambda: "fine")
    for _ in range(7):
        call()
"""


class Collector(services.MetricsServiceServicer):
    def __init__(self):
        self.requests = []

    def Export(self, request, context):
        self.requests.append(request)
        return messages.ExportMetricsServiceResponse()


@pytest.fixture
def collector():
    server = grpc.server(ThreadPoolExecutor(2))
    collector = Collector()
    services.add_MetricsServiceServicer_to_server(collector, server)
    collector.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield collector
    server.stop(0).wait()


def test_the_calls_of_a_program_arrive_when_it_ends(collector):
    command = [sys.executable, "-c", PROGRAM, collector.address]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    resource = collector.requests[-1].resource_metrics[0]
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert named["service.name"] == "productpage"
    metrics = {m.name: m for scope in resource.scope_metrics for m in scope.metrics}
    (point,) = metrics["istio_requests_total"].sum.data_points
    labels = {each.key: each.value.string_value for each in point.attributes}
    assert point.as_int == 7
    assert labels["reporter"] == "source"
    assert (labels["source_app"], labels["source_version"]) == ("productpage", "v1")
    assert labels["destination_service_name"] == "PassthroughCluster"
