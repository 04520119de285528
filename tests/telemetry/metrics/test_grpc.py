"""Calls and attempts are told in gRPC's own metrics, too."""

import pytest

from meshlib.dataplane import AttemptFailed, Cause, Failure, Response, StreamBegan
from meshlib.dataplane.message import Meter
from meshlib.exposition import Metric
from meshlib.telemetry.metrics import Recorder
from meshlib.telemetry.metrics.grpc import grpc_metrics
from meshlib.telemetry.metrics.messages import SIZES
from meshlib.telemetry.metrics.series import LATENCY

PATH = "/bookinfo.Reviews/Get"
METHOD = ("grpc.method", "bookinfo.Reviews/Get")
TARGET = ("grpc.target", "dns:///reviews:9080")
BACKEND = ("grpc.lb.backend_service", "outbound|9080||reviews.default.svc.cluster.local")
OK = Response(200, grpc_status=0)


@pytest.fixture
def recorder():
    return Recorder(clock=lambda: 3.0)


def by_name(recorder) -> dict[str, Metric]:
    return {metric.name: metric for metric in grpc_metrics(recorder)}


def test_names_and_units_are_those_of_the_grfc(recorder):
    assert {metric.family: metric.unit for metric in grpc_metrics(recorder)} == {
        "grpc_client_attempt_started": "{attempt}",
        "grpc_client_attempt_duration_seconds": "s",
        "grpc_client_attempt_sent_total_compressed_message_size_bytes": "By",
        "grpc_client_attempt_rcvd_total_compressed_message_size_bytes": "By",
        "grpc_client_call_duration_seconds": "s",
        "grpc_client_call_retries": "{retry}",
        "grpc_client_call_transparent_retries": "{transparent_retry}",
        "grpc_client_call_hedges": "{hedge}",
        "grpc_client_call_retry_delay_seconds": "s",
        "grpc_server_call_started": "{call}",
        "grpc_server_call_duration_seconds": "s",
        "grpc_server_call_sent_total_compressed_message_size_bytes": "By",
        "grpc_server_call_rcvd_total_compressed_message_size_bytes": "By",
    }


def test_a_retried_call_is_one_call_and_two_attempts(recorder, calls):
    ended = calls.ended(OK, 2.5, grpc=True, path=PATH, attempts=2, attempt_began=2.0)
    failed = Failure(Cause.CONNECT, grpc_status=14)
    began = calls.ended(failed, grpc=True, path=PATH, attempts=1, attempt_began=1.0)
    recorder(AttemptFailed(began.record, failed, "retry"))
    recorder(ended)
    found = by_name(recorder)
    (started,) = found["grpc.client.attempt.started"].samples
    assert (started.labels, started.value) == ((METHOD, TARGET), 2)
    attempts = {s.labels: s.value for s in found["grpc.client.attempt.duration"].samples}
    took = {labels[2]: value.total for labels, value in attempts.items()}
    assert took == {("grpc.status", "OK"): 0.5, ("grpc.status", "UNAVAILABLE"): 2.0}
    assert {labels[3] for labels in attempts} == {BACKEND}
    (call,) = found["grpc.client.call.duration"].samples
    assert call.labels == (METHOD, TARGET, ("grpc.status", "OK"))
    assert (call.value.count, call.value.total, call.value.bounds) == (1, 2.5, LATENCY)


def test_a_target_is_named_as_the_application_names_it(recorder, calls):
    for target in ("reviews:9080", "ratings:9080"):
        recorder(calls.ended(OK, grpc=True, path=PATH, target=target, attempt_began=0.1))
        began = calls.ended(OK, grpc=True, path=f"{PATH}All", target=target, streaming=True)
        recorder(StreamBegan(began.record))
        recorder(AttemptFailed(began.record, Failure(Cause.CONNECT), "retry"))
    found = {
        dict(sample.labels)["grpc.target"]
        for metric in grpc_metrics(recorder, {"ratings:9080": "xds:///"})
        if metric.name.startswith("grpc.client")
        for sample in metric.samples
    }
    assert found == {"dns:///reviews:9080", "xds:///ratings:9080"}


def test_a_stream_is_started_before_it_is_over(recorder, calls):
    def started():
        return [
            (sample.labels, sample.value)
            for name in ("client.attempt", "server.call")
            for sample in by_name(recorder)[f"grpc.{name}.started"].samples
        ]

    ends = [
        calls.ended(OK, grpc=True, path=PATH, streaming=True, inbound=inbound, attempt_began=1.0)
        for inbound in (False, True)
    ]
    for end in ends:
        recorder(StreamBegan(end.record))
    failed = Failure(Cause.CONNECT, grpc_status=14)
    assert started() == [((METHOD, TARGET), 1), ((METHOD,), 1)]
    assert not by_name(recorder)["grpc.server.call.duration"].samples
    recorder(AttemptFailed(ends[0].record, failed, "retry"))
    recorder(StreamBegan(ends[0].record))
    assert started()[0] == ((METHOD, TARGET), 2)
    for end in ends:
        recorder(end)
    assert started() == [((METHOD, TARGET), 2), ((METHOD,), 1)]


def test_a_server_tells_what_it_received_and_sent(recorder, calls):
    meter = Meter(request_bytes=1000, response_bytes=5000)
    recorder(calls.ended(OK, grpc=True, path=PATH, inbound=True, meter=meter))
    found = by_name(recorder)
    (sent,) = found["grpc.server.call.sent_total_compressed_message_size"].samples
    (received,) = found["grpc.server.call.rcvd_total_compressed_message_size"].samples
    assert (sent.value.total, received.value.total) == (5000, 1000)
    assert sent.value.bounds == SIZES
    (started,) = found["grpc.server.call.started"].samples
    assert (started.labels, started.value) == ((METHOD,), 1)
    assert not found["grpc.client.call.duration"].samples


def test_methods_beyond_a_limit_are_other(recorder, calls):
    for number in range(300):
        recorder(calls.ended(OK, grpc=True, path=f"/pkg.Service/M{number}"))
    named = {
        dict(s.labels)["grpc.method"]
        for s in by_name(recorder)["grpc.client.call.duration"].samples
    }
    assert len(named) == 201
    assert "other" in named


def test_calls_of_http_are_none_of_grpc(recorder, calls):
    recorder(calls.ended(Response(200)))
    assert not any(metric.samples for metric in grpc_metrics(recorder))
