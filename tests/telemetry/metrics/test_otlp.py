"""What is counted goes to any exporter of OpenTelemetry's SDK."""

import gc
import threading

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableGauge
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
)
from opentelemetry.sdk.resources import Resource

import meshlib
from meshlib.dataplane import Response
from meshlib.exposition import Kind, Metric, Sample
from meshlib.telemetry.metrics import Recorder, otlp
from meshlib.telemetry.metrics.grpc import grpc_metrics
from meshlib.telemetry.metrics.istio import istio_metrics
from meshlib.telemetry.metrics.members import MEMBERS, Members
from meshlib.telemetry.metrics.otlp import MINUTE, MetricsExport, interval_of
from meshlib.telemetry.metrics.series import ISTIO

RESOURCE = Resource({"service.name": "productpage"})


class Kept(MetricExporter):
    """Keeps what it is given, as OTLP says it; fails as often as it is told to."""

    def __init__(self, failures=0, prefers=None):
        super().__init__(preferred_temporality=prefers)
        self.batches = []
        self.came = threading.Event()
        self.is_shut = False
        self.failures = failures

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        if self.failures:
            self.failures -= 1
            raise OSError("nobody there")
        self.batches.append(encode_metrics(metrics_data))
        self.came.set()
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        self.is_shut = True


class Counting:
    name = "productpage"

    def __init__(self):
        self.recorder = Recorder()
        self.introduced = 0

    def introduce(self):
        self.introduced += 1

    def collect(self):
        gauge = Metric("meshlib_config_age", Kind.GAUGE, "Old.", [Sample((), 1.5)], "s")
        return [*istio_metrics(self.recorder), *grpc_metrics(self.recorder), gauge]


@pytest.fixture
def members():
    return Members(wall=lambda: 100)


@pytest.fixture
def member(members):
    member = Counting()
    members.join(member)
    return member


def exports(exporter, members, interval=3600.0):
    return MetricsExport(exporter, interval, resource=RESOURCE, members=members, wall=lambda: 900)


def test_calls_are_told_by_otlp(members, member, calls):
    member.recorder(calls.ended(Response(200), 0.003))
    member.recorder(calls.ended(Response(200), 0.2))
    exporter = Kept()
    exports(exporter, members).export()
    (batch,) = exporter.batches
    (resource,) = batch.resource_metrics
    assert resource.resource.attributes[0].value.string_value == "productpage"
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "meshlib"
    metrics = {metric.name: metric for metric in scope.metrics}
    (point,) = metrics["istio_requests_total"].sum.data_points
    assert (point.as_int or point.as_double) == 2
    assert metrics["istio_requests_total"].sum.is_monotonic
    assert (point.start_time_unix_nano, point.time_unix_nano) == (100, 900)
    (spread,) = metrics["istio_request_duration_milliseconds"].histogram.data_points
    assert (spread.count, spread.sum) == (2, pytest.approx(203))
    assert tuple(spread.explicit_bounds) == ISTIO
    assert sum(spread.bucket_counts) == 2
    assert {one.key: one.value.string_value for one in spread.attributes}["reporter"] == "source"
    (age,) = metrics["meshlib_config_age"].gauge.data_points
    assert age.as_double == 1.5
    assert "grpc.client.call.duration" not in metrics


def test_it_exports_again_and_again_until_it_is_closed(members, member):
    exporter = Kept()
    export = exports(exporter, members, interval=0.01)
    export.start()
    assert exporter.came.wait(10)
    assert member.introduced == 1
    export.close()
    assert exporter.is_shut
    told = len(exporter.batches)
    export.close()
    assert len(exporter.batches) == told


def test_who_joins_later_is_introduced_too(members):
    members.want()
    late = Counting()
    members.join(late)
    assert late.introduced == 1


def test_who_is_gone_is_not_exported(members):
    gone = Counting()
    members.join(gone)
    del gone
    gc.collect()
    assert not members.since()


def test_a_child_begins_with_nobody(members, member):
    members.begin_anew()
    assert not members.since()
    members.join(member)
    assert members.since() == [(member, 100)]


def test_an_exporter_that_fails_is_logged_once_and_asked_again(members, caplog):
    exporter = Kept(failures=3)
    export = exports(exporter, members)
    for _ in range(4):
        export.export()
    assert [record.message for record in caplog.records] == [
        "metrics are not exported: OSError('nobody there')"
    ]
    assert len(exporter.batches) == 1


@pytest.mark.parametrize(
    ("said", "seconds"), [("", MINUTE), ("500", 0.5), ("often", MINUTE), ("0", 0.1)]
)
def test_the_environment_says_how_often(said, seconds):
    assert interval_of({"OTEL_METRIC_EXPORT_INTERVAL": said}) == seconds


def test_what_a_closed_mesh_counted_is_exported_still(calls):
    with meshlib.Mesh("productpage") as mesh:
        mesh.recorder(calls.ended())
    assert mesh._seen in [member for member, _ in MEMBERS.since()]
    data = MetricsExport(Kept(), resource=RESOURCE).collect()
    names = {m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert {"meshlib_push_to_apply", "istio_requests_total"} <= names


def test_all_that_a_member_tells_fits_into_otlp():
    entry = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "reviews"},
        "spec": {
            "hosts": ["reviews.default.svc.cluster.local"],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [{"address": "127.0.0.1"}],
        },
    }
    kept = Kept()
    with meshlib.Mesh("productpage", config=[entry]) as mesh:
        members = Members(wall=lambda: 100)
        members.join(mesh._seen)
        exports(kept, members).export()
    told = {m.name for s in kept.batches[0].resource_metrics[0].scope_metrics for m in s.metrics}
    assert "meshlib_circuit_breaker_open" in told


class Hanging(Kept):
    """Nobody answers until it is shut down."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.over = threading.Event()

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        self.asked.append(timeout_millis)
        self.came.set()
        self.over.wait(10)
        return MetricExportResult.FAILURE

    def shutdown(self, timeout_millis=30_000, **kwargs):
        self.over.set()


def test_an_exporter_that_hangs_is_asked_no_more_at_the_end(members, monkeypatch):
    monkeypatch.setattr(otlp, "GRACE", 0.05)
    exporter = Hanging()
    export = exports(exporter, members, interval=0.1)
    export.start()
    assert exporter.came.wait(10)
    export.close()
    assert len(exporter.asked) == 1
    assert exporter.over.is_set()


def test_the_last_export_has_no_more_time_than_there_is_grace(members, member):
    exporter = Hanging()
    exporter.over.set()
    export = exports(exporter, members)
    export.start()
    export.close()
    assert exporter.asked == [otlp.GRACE * 1000]


def test_an_exporter_that_prefers_deltas_gets_what_it_was_not_told_yet(members, member, calls):
    whole, new = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
    exporter = Kept(prefers={Counter: new, Histogram: new, ObservableGauge: whole})
    now = iter(range(901, 999))
    export = MetricsExport(exporter, 60.0, members=members, wall=lambda: next(now))
    for failures, seconds in ((0, [0.003, 0.2]), (1, [0.003]), (0, [0.003]), (0, [])):
        for took in seconds:
            member.recorder(calls.ended(Response(200), took))
        exporter.failures = failures
        export.export()
    first, second, third = (named(batch) for batch in exporter.batches)
    for batch, count, began, ended in ((first, 2, 100, 901), (second, 2, 901, 903)):
        total = batch["istio_requests_total"].sum
        assert total.aggregation_temporality == 1
        (point,) = total.data_points
        assert point.as_double + point.as_int == count
        assert (point.start_time_unix_nano, point.time_unix_nano) == (began, ended)
        (spread,) = batch["istio_request_duration_milliseconds"].histogram.data_points
        assert (spread.count, sum(spread.bucket_counts)) == (count, count)
    assert second["istio_request_duration_milliseconds"].histogram.data_points[
        0
    ].sum == pytest.approx(6.0)
    assert set(third) == {"meshlib_config_age"}


def test_who_counts_anew_is_told_whole(members, member, calls):
    exporter = Kept(prefers={Counter: AggregationTemporality.DELTA})
    export = exports(exporter, members)
    for made in (3, 1):
        member.recorder = Recorder()
        for _ in range(made):
            member.recorder(calls.ended(Response(200)))
        export.export()
    totals = [named(batch)["istio_requests_total"].sum.data_points for batch in exporter.batches]
    assert [point.as_double + point.as_int for (point,) in totals] == [3, 1]


def named(batch):
    scopes = (scope for resource in batch.resource_metrics for scope in resource.scope_metrics)
    return {metric.name: metric for scope in scopes for metric in scope.metrics}
