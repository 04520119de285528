"""Calls are counted by direction, cluster and outcome, and timed."""

from types import SimpleNamespace

import pytest

from meshlib.dataplane import (
    CallEnded,
    CallRecord,
    Cause,
    ConfigApplied,
    Failure,
    Request,
    Response,
    TriedAgain,
)
from meshlib.telemetry import Recorder
from meshlib.telemetry.metrics.recorder import BOUNDS

REQUEST = Request("reviews:9080", "GET", "/")


@pytest.fixture
def recorder():
    return Recorder()


def record(*, cluster="reviews", inbound=False):
    named = SimpleNamespace(name=cluster) if cluster else None
    return CallRecord(REQUEST, 0.0, inbound=inbound, cluster=named)


def counts(recorder, *columns):
    return {
        tuple(row[column] for column in columns): row["count"]
        for row in recorder.snapshot()["calls"]
    }


def test_calls_are_counted_by_outcome(recorder):
    for outcome in (Response(200), Response(204), Response(200), Response(503)):
        recorder(CallEnded(record(), outcome, 0.01))
    recorder(CallEnded(record(), Failure(Cause.CONNECT), 0.01))
    assert counts(recorder, "class", "status", "flags") == {
        ("2xx", 200, ""): 2,
        ("2xx", 204, ""): 1,
        ("5xx", 503, ""): 1,
        ("failed", 0, "UF"): 1,
    }


def test_directions_and_clusters_are_apart(recorder):
    recorder(CallEnded(record(), Response(200), 0.01))
    recorder(CallEnded(record(cluster="ratings"), Response(200), 0.01))
    recorder(CallEnded(record(cluster=None, inbound=True), Response(200), 0.01))
    assert set(counts(recorder, "direction", "cluster")) == {
        ("outbound", "reviews"),
        ("outbound", "ratings"),
        ("inbound", ""),
    }


def test_grpc_statuses_are_apart(recorder):
    recorder(CallEnded(record(), Response(200, grpc_status=0), 0.01))
    recorder(CallEnded(record(), Response(200, grpc_status=14), 0.01))
    assert set(counts(recorder, "grpc_status")) == {(0,), (14,)}


def test_durations_fall_into_buckets_and_add_up(recorder):
    for seconds in (0.0, BOUNDS[0], 0.0105, 1000.0):
        recorder(CallEnded(record(), Response(200), seconds))
    (row,) = recorder.snapshot()["calls"]
    filled = {index: count for index, count in enumerate(row["buckets"]) if count}
    assert filled == {0: 2, BOUNDS.index(0.013): 1, len(BOUNDS): 1}
    assert row["sum"] == pytest.approx(1000.0106)
    assert sum(row["buckets"]) == row["count"] == 4


def test_further_attempts_are_counted_by_kind(recorder):
    for kind in ("retry", "retry", "another endpoint"):
        recorder(TriedAgain(record(), kind))
    assert recorder.snapshot()["retries"] == [
        {"cluster": "reviews", "kind": "retry", "count": 2},
        {"cluster": "reviews", "kind": "another endpoint", "count": 1},
    ]
    assert recorder.snapshot()["calls"] == []


def test_the_configuration_in_force_is_known(recorder):
    assert recorder.snapshot()["config"] == {"version": "", "applied": 0}
    recorder(ConfigApplied("v1", 1, 1))
    recorder(ConfigApplied("v2", 1, 1))
    assert recorder.snapshot()["config"] == {"version": "v2", "applied": 2}


def test_bounds_rise():
    assert list(BOUNDS) == sorted(set(BOUNDS))
