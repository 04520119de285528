"""Calls are told in Istio's standard metrics, with all of their labels."""

import logging

import pytest

from meshlib.dataplane import Cause, Failure, Response
from meshlib.dataplane.message import Meter
from meshlib.exposition import Distribution
from meshlib.model.telemetry import MetricOverride, Stats
from meshlib.model.workload import PeerFacts
from meshlib.telemetry.audience import Audience
from meshlib.telemetry.metrics import Recorder
from meshlib.telemetry.metrics.istio import istio_metrics
from meshlib.telemetry.metrics.overrides import Plan
from meshlib.telemetry.metrics.series import ISTIO
from meshlib.telemetry.peers import Peers

OWN = PeerFacts(
    workload="productpage-v1",
    namespace="default",
    canonical_service="productpage",
    canonical_revision="v1",
    app="productpage",
    version="v1",
    cluster="Kubernetes",
)
ALL_LABELS = {
    "reporter",
    *(
        f"{side}_{name}"
        for side in ("source", "destination")
        for name in (
            *("workload", "workload_namespace", "canonical_service", "canonical_revision"),
            *("principal", "app", "version", "cluster"),
        )
    ),
    *("destination_service", "destination_service_name", "destination_service_namespace"),
    *("request_protocol", "response_code", "grpc_response_status", "response_flags"),
    "connection_security_policy",
}


@pytest.fixture
def recorder():
    return Recorder(peers=Peers(OWN), own_host="productpage.default.svc.cluster.local")


def told(recorder, only, *names):
    labels, _ = only(istio_metrics(recorder), "istio_requests_total")
    return tuple(labels[name] for name in names)


def test_every_metric_has_every_label(recorder, calls):
    recorder(calls.ended(Response(200, grpc_status=0), grpc=True, path="/pkg.Reviews/Get"))
    metrics = {metric.name: metric for metric in istio_metrics(recorder)}
    assert set(metrics) == {
        "istio_requests_total",
        "istio_request_duration_milliseconds",
        "istio_request_bytes",
        "istio_response_bytes",
        "istio_request_messages_total",
        "istio_response_messages_total",
    }
    for metric in metrics.values():
        (sample,) = metric.samples
        assert dict(sample.labels).keys() == ALL_LABELS


def test_a_call_out_names_the_service_and_the_caller(recorder, calls, only):
    recorder(calls.ended())
    labels, count = only(istio_metrics(recorder), "istio_requests_total")
    assert count == 1
    assert (
        labels
        | {
            "reporter": "source",
            "source_workload": "productpage-v1",
            "source_app": "productpage",
            "source_cluster": "Kubernetes",
            "source_principal": "unknown",
            "destination_workload": "unknown",
            "destination_service": "reviews.default.svc.cluster.local",
            "destination_service_name": "reviews",
            "destination_service_namespace": "default",
            "request_protocol": "http",
            "response_code": "200",
            "grpc_response_status": "",
            "response_flags": "-",
            "connection_security_policy": "unknown",
        }
        == labels
    )


@pytest.mark.parametrize(("secure", "policy"), [(True, "mutual_tls"), (False, "none")])
def test_a_call_in_says_whether_it_was_mutual_tls(recorder, calls, only, secure, policy):
    recorder(calls.ended(inbound=True, secure=secure))
    names = ("reporter", "destination_service", "destination_app", "connection_security_policy")
    host = "productpage.default.svc.cluster.local"
    assert told(recorder, only, *names) == ("destination", host, "productpage", policy)
    (principal,) = told(recorder, only, "source_principal")
    proven = "spiffe://cluster.local/ns/default/sa/productpage"
    assert principal == (proven if secure else "unknown")


def test_bytes_messages_and_time_are_those_of_the_call(recorder, calls, only):
    meter = Meter(request_bytes=7, response_bytes=3000, request_messages=2, response_messages=5)
    recorder(calls.ended(Response(200, grpc_status=0), 0.003, grpc=True, meter=meter))
    metrics = list(istio_metrics(recorder))
    for name, value in (
        ("istio_request_duration_milliseconds", 3.0),
        ("istio_request_bytes", 7.0),
        ("istio_response_bytes", 3000.0),
    ):
        _, found = only(metrics, name)
        assert isinstance(found, Distribution)
        assert found.bounds == ISTIO
        place = next(n for n, bound in enumerate(ISTIO) if value <= bound)
        assert [n for n, count in enumerate(found.counts) if count] == [place]
        assert found.total == pytest.approx(value)
    assert only(metrics, "istio_request_messages_total")[1] == 2
    assert only(metrics, "istio_response_messages_total")[1] == 5


@pytest.mark.parametrize("seconds", [bound / 1000 for bound in ISTIO])
def test_a_bound_belongs_to_its_own_bucket(recorder, calls, only, seconds):
    recorder(calls.ended(seconds=seconds))
    _, found = only(istio_metrics(recorder), "istio_request_duration_milliseconds")
    assert found.counts[ISTIO.index(round(seconds * 1000, 3))] == 1


@pytest.mark.parametrize(
    ("outcome", "grpc", "said"),
    [
        (Response(503), False, ("503", "", "-")),
        (Failure(Cause.CONNECT), False, ("503", "", "UF")),
        (Failure(Cause.TIMEOUT), False, ("504", "", "UT")),
        (Failure(Cause.CANCELLED), False, ("0", "", "DC")),
        (Failure(Cause.NO_CONFIG), False, ("503", "", "NR")),
        (Response(200, grpc_status=5), True, ("200", "5", "-")),
        (Failure(Cause.CONNECT, grpc_status=14), True, ("200", "14", "UF")),
        (Failure(Cause.NO_ENDPOINT), True, ("200", "14", "UH")),
        (Failure(Cause.TIMEOUT), True, ("200", "4", "UT")),
        (Failure(Cause.CANCELLED), True, ("0", "1", "DC")),
    ],
)
def test_outcomes_are_codes_and_flags(recorder, calls, only, outcome, grpc, said):
    recorder(calls.ended(outcome, grpc=grpc))
    names = ("response_code", "grpc_response_status", "response_flags")
    assert told(recorder, only, *names) == said


def test_flags_of_filters_and_of_the_end_are_joined(recorder, calls, only):
    failed = Failure(Cause.CONNECT)
    recorder(calls.ended(failed, flags=("DI",), retries_exhausted=True))
    assert told(recorder, only, "response_flags") == ("DI,URX,UF",)


@pytest.mark.parametrize(
    ("cluster", "outcome", "service"),
    [
        ("", Response(200), ("api.example.com", "PassthroughCluster", "unknown")),
        ("PassthroughCluster", Response(200), ("api.example.com", "PassthroughCluster", "unknown")),
        ("", Failure(Cause.BLOCKED), ("api.example.com", "BlackHoleCluster", "unknown")),
        ("", Failure(Cause.NO_ROUTE), ("api.example.com", "api.example.com", "unknown")),
        (
            "outbound|443|v2|api.example.com",
            Response(200),
            ("api.example.com", "api.example.com", "unknown"),
        ),
    ],
)
def test_other_hosts_are_named_as_istio_names_them(
    recorder, calls, only, cluster, outcome, service
):
    recorder(calls.ended(outcome, cluster=cluster, target="api.example.com:443"))
    names = ("service", "service_name", "service_namespace")
    assert told(recorder, only, *(f"destination_{name}" for name in names)) == service


def test_a_mirrored_copy_is_no_call(recorder, calls):
    recorder(calls.ended(mirror=True))
    assert all(not metric.samples for metric in istio_metrics(recorder))
    assert recorder.mirrors == {"outbound|9080||reviews.default.svc.cluster.local": 1}


def test_kinds_beyond_a_limit_are_counted_together(calls, caplog):
    recorder = Recorder(most=3)
    with caplog.at_level(logging.WARNING, "meshlib"):
        for number in range(10):
            recorder(calls.ended(target=f"host-{number}:80", cluster=""))
    (metric, *_) = istio_metrics(recorder)
    values = {dict(s.labels)["destination_service"]: s.value for s in metric.samples}
    assert values == {"host-0": 1, "host-1": 1, "host-2": 1, "other": 7}
    assert recorder.crowded == 7
    assert len(caplog.records) == 1


def test_paths_of_strangers_make_no_series(calls):
    recorder = Recorder()
    for number in range(5000):
        answer = Response(200, grpc_status=12)
        recorder(calls.ended(answer, inbound=True, grpc=True, path=f"/x.Y/{number}"))
    assert len(recorder.series) == 1


# --- Istio's Telemetry ---


def planned(*overrides, **options):
    return Audience(stats=Plan(Stats(metrics=overrides, **options)))


def test_a_metric_may_be_dropped(recorder, calls):
    audience = planned(MetricOverride(name="request_bytes", drop=True))
    recorder(calls.ended(audience=audience))
    metrics = {metric.name: len(metric.samples) for metric in istio_metrics(recorder)}
    assert metrics["istio_request_bytes"] == 0
    assert metrics["istio_requests_total"] == 1


def test_labels_are_removed_and_calls_that_are_alike_then_are_added_up(recorder, calls, only):
    audience = planned(MetricOverride(tags_to_remove=("response_code", "response_flags")))
    for outcome in (Response(200), Response(404), Failure(Cause.CONNECT)):
        recorder(calls.ended(outcome, 0.01, audience=audience))
    labels, value = only(istio_metrics(recorder), "istio_requests_total")
    assert value == 3
    assert labels.keys() == ALL_LABELS - {"response_code", "response_flags"}


def test_labels_are_added_by_expressions(recorder, calls):
    override = MetricOverride(
        name="requests_total",
        dimensions=(
            ("request_host", "request.host"),
            ("tenant", "request.headers['x-tenant']"),
            ("response_code", "string(response.code / 100) + 'xx'"),
        ),
    )
    audience = planned(override)
    for code, headers in ((200, (("x-tenant", "a"),)), (201, (("x-tenant", "a"),)), (500, ())):
        recorder(calls.ended(Response(code), headers=headers, audience=audience))
    metrics = {metric.name: metric for metric in istio_metrics(recorder)}
    found = {
        tuple(dict(s.labels)[name] for name in ("request_host", "tenant", "response_code")): s.value
        for s in metrics["istio_requests_total"].samples
    }
    assert found == {("reviews:9080", "a", "2xx"): 2, ("reviews:9080", "unknown", "5xx"): 1}
    plain = metrics["istio_request_duration_milliseconds"].samples
    assert {dict(s.labels)["response_code"] for s in plain} == {"200", "201", "500"}
    assert all("tenant" not in dict(s.labels) for s in plain)


def test_values_that_expressions_give_are_bounded(recorder, calls, only):
    audience = planned(MetricOverride(dimensions=(("path", "request.path"),)))
    recorder(calls.ended(path="/" + "x" * 5000, audience=audience))
    labels, _ = only(istio_metrics(recorder), "istio_requests_total")
    assert len(labels["path"]) == 100


def test_without_a_fallback_hosts_of_no_service_are_not_named(recorder, calls, only):
    audience = planned(disable_host_header_fallback=True)
    recorder(calls.ended(cluster="", target="secret.example.com:80", audience=audience))
    assert told(recorder, only, "destination_service") == ("unknown",)
