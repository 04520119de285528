"""The whole of what a member shows is as Prometheus wants it."""

import subprocess
import tracemalloc

import pytest
from prometheus_client.parser import text_string_to_metric_families

import meshlib
from meshlib.dataplane import Response


@pytest.fixture
def text(calls):
    mesh = meshlib.Mesh("productpage", version="v1")
    for grpc in (False, True):
        for inbound in (False, True):
            answer = Response(200, grpc_status=0 if grpc else None)
            ended = calls.ended(answer, grpc=grpc, inbound=inbound, attempt_began=0.001)
            mesh.recorder(ended)
    return mesh.metrics()


def test_every_metric_is_there_once(text):
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    families = {family.name for family in text_string_to_metric_families(text)}
    assert {"istio_requests", "grpc_client_call_duration_seconds", "meshlib_retries"} <= families


def test_calls_are_those_that_were_made(text):
    counted = {
        (sample.labels["reporter"], sample.labels["request_protocol"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "istio_requests_total"
    }
    assert counted == {
        (reporter, protocol): 1
        for reporter in ("source", "destination")
        for protocol in ("http", "grpc")
    }


def test_prometheus_has_nothing_against_it_but_that_istio_counts_milliseconds(text, program):
    check = [program("promtool"), "check", "metrics"]
    said = subprocess.run(check, check=False, input=text, text=True, capture_output=True)
    found = (said.stdout + said.stderr).splitlines()
    assert [line.split()[0] for line in found if line] == ["istio_request_duration_milliseconds"]


def test_a_large_text_is_never_in_memory_as_a_whole(calls):
    mesh = meshlib.Mesh("productpage")
    for number in range(400):
        mesh.recorder(calls.ended(Response(200), cluster=f"outbound|80||h{number}.example"))
    whole = len(mesh.metrics())
    tracemalloc.start()
    try:
        assert sum(map(len, mesh._seen.pieces())) == whole
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < whole / 2
