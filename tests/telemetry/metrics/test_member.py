"""A member tells of its configuration, its clusters, and what policies did."""

import random
import threading

import pytest

from meshlib.dataplane import (
    AttemptFailed,
    Cause,
    ConfigApplied,
    EndpointEjected,
    EndpointSpared,
    Engine,
    Failure,
    Options,
    Request,
    RetryDenied,
    TriedAgain,
)
from meshlib.dataplane.upstream.health import Result
from meshlib.exposition import Distribution, Kind
from meshlib.model import (
    AdaptiveConcurrency,
    Address,
    CircuitBreakers,
    ClientSideWeightedRoundRobin,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    HealthStatus,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    LocalityLbEndpoints,
    NonForwardingAction,
    PathPrefix,
    Route,
    RouteConfiguration,
    RouteMatch,
    Router,
    Thresholds,
    VirtualHost,
)
from meshlib.model.snapshot import gather
from meshlib.telemetry.metrics import Recorder
from meshlib.telemetry.metrics.member import Facts, member_metrics
from meshlib.telemetry.metrics.pushes import BUCKETS, PushToApply

NOW = 100.0
WELL, ILL = HealthStatus.HEALTHY, HealthStatus.UNHEALTHY


@pytest.fixture
def recorder():
    return Recorder(clock=lambda: NOW - 7)


@pytest.fixture
def engine(recorder):
    return Engine(
        clock=lambda: NOW,
        dice=random.Random(7).random,
        observe=recorder,
        options=Options(complete=True),
    )


@pytest.fixture
def facts(engine):
    return Facts(
        engine=engine,
        lock=threading.Lock(),
        clock=lambda: NOW,
        source=dict,
        identity=lambda: {"kind": "ca", "not_after": 5000.0},
        plaintext=lambda: {"10.0.0.1": 3},
        push_to_apply=PushToApply().now,
    )


def apply(engine, *health, max_requests=1024, **fields):
    endpoints = tuple(
        Endpoint(address=Address(f"10.0.0.{n}", 80), health_status=each)
        for n, each in enumerate(health)
    )
    limits = CircuitBreakers(default=Thresholds(max_requests=max_requests))
    engine.apply(
        gather(
            clusters=[Cluster(name="reviews", circuit_breakers=limits, **fields)],
            endpoints=[
                ClusterLoadAssignment(
                    cluster_name="reviews",
                    endpoints=(LocalityLbEndpoints(lb_endpoints=endpoints),),
                )
            ],
        )
    )


def values(recorder, facts, name, *labels):
    (metric,) = (one for one in member_metrics(recorder, facts) if one.name == name)
    return {
        tuple(dict(sample.labels)[label] for label in labels): sample.value
        for sample in metric.samples
    }


def test_the_configuration_in_force_has_an_age(recorder, engine, facts):
    names = {metric.name for metric in member_metrics(recorder, facts)}
    assert "meshlib_config_age" not in names
    apply(engine, WELL)
    assert values(recorder, facts, "meshlib_config_age") == {(): 7.0}
    (version,) = values(recorder, facts, "meshlib_config_info", "version")
    assert version == (engine.snapshot.version,)
    assert values(recorder, facts, "meshlib_config_applied_total") == {(): 1}


def test_the_end_of_the_certificate_is_told(recorder, facts):
    name = "meshlib_certificate_expiry_timestamp"
    assert values(recorder, facts, name) == {(): 5000.0}


@pytest.mark.parametrize(
    ("health", "panics"), [((WELL, WELL, ILL), 0.0), ((WELL, ILL, ILL, ILL), 1.0)]
)
def test_endpoints_are_counted_by_how_they_are(recorder, engine, facts, health, panics):
    apply(engine, *health)
    found = values(recorder, facts, "meshlib_cluster_endpoints", "cluster", "state")
    assert found["reviews", "healthy"] == health.count(WELL)
    assert found["reviews", "unhealthy"] == health.count(ILL)
    assert found["reviews", "ejected"] == 0
    assert values(recorder, facts, "meshlib_cluster_in_panic", "cluster") == {("reviews",): panics}


def test_an_ejected_endpoint_is_neither_well_nor_ill(recorder, engine, facts):
    apply(engine, WELL, WELL)
    next(iter(engine.clusters["reviews"].balance.endpoints.values())).ejected = True
    found = values(recorder, facts, "meshlib_cluster_endpoints", "state")
    assert (found["healthy",], found["ejected",]) == (1, 1)


def test_breakers_tell_how_much_room_there_is(recorder, engine, facts):
    apply(engine, WELL, max_requests=2)
    concurrency = engine.clusters["reviews"].breaker.concurrency
    for active, is_open in ((0, 0.0), (1, 0.0), (2, 1.0), (3, 1.0)):
        concurrency.active = active
        found = {
            name: values(recorder, facts, f"meshlib_circuit_breaker_{name}", "priority")
            for name in ("open", "remaining", "active")
        }
        assert found["open"]["default",] == is_open
        assert found["remaining"]["default",] == max(0, 2 - active)
        assert found["active"]["default",] == active
        assert found["open"]["high",] == 0


def test_retries_and_ejections_are_counted_by_why(recorder, engine, facts, calls):
    apply(engine, WELL)
    record = calls.ended(cluster="reviews").record
    for kind in ("retry", "retry", "hedge"):
        recorder(TriedAgain(record, kind))
    (endpoint,) = engine.clusters["reviews"].balance.endpoints.values()
    recorder(EndpointEjected("reviews", endpoint, "consecutive_5xx", 10.0))
    found = values(recorder, facts, "meshlib_retries_total", "cluster", "kind")
    assert found == {("reviews", "retry"): 2, ("reviews", "hedge"): 1}
    recorder(RetryDenied("reviews", "overflow"))
    found = values(recorder, facts, "meshlib_retries_denied_total", "cluster", "reason")
    assert found == {("reviews", "overflow"): 1}
    name = "grpc.lb.outlier_detection.ejections_enforced"
    method = "grpc.lb.outlier_detection.detection_method"
    found = values(recorder, facts, name, "grpc.lb.backend_service", method)
    assert found == {("reviews", "consecutive_5xx"): 1}
    recorder(EndpointSpared("reviews", "success_rate", "max_ejection_overflow"))
    why = "grpc.lb.outlier_detection.unenforced_reason"
    found = values(recorder, facts, name.replace("ions_", "ions_un"), "grpc.target", method, why)
    assert found == {("#mesh", "success_rate", "max_ejection_overflow"): 1}


def test_plaintext_callers_are_named(recorder, facts):
    found = values(recorder, facts, "meshlib_plaintext_calls_total", "caller")
    assert found == {("10.0.0.1",): 3}


def test_what_policies_did_is_told(recorder, engine, facts, monkeypatch):
    counts = {"inbound/rbac": {"allowed": 5, "denied": 2}}
    monkeypatch.setattr(Engine, "access", counts)
    found = values(recorder, facts, "meshlib_access_total", "place", "verdict")
    assert found == {("inbound/rbac", "allowed"): 5, ("inbound/rbac", "denied"): 2}


def test_weights_are_told_of_clusters_that_weigh(recorder, engine, facts):
    apply(engine, WELL)
    label, name = "grpc.lb.backend_service", "grpc.lb.wrr.rr_fallback"
    assert values(recorder, facts, name, label) == {}
    apply(engine, WELL, WELL, lb_policy=ClientSideWeightedRoundRobin())
    engine.clusters["reviews"].pick()
    assert values(recorder, facts, name, label) == {("reviews",): 1}
    unusable = "grpc.lb.wrr.endpoint_weight_not_yet_usable"
    assert values(recorder, facts, unusable, "grpc.target", label) == {("#mesh", "reviews"): 2}
    assert values(recorder, facts, "grpc.lb.wrr.endpoint_weight_stale", label) == {("reviews",): 0}
    (found,) = values(recorder, facts, "grpc.lb.wrr.endpoint_weights", label).values()
    assert (found.count, found.total, found.counts[0]) == (2, 0, 2)


def test_attempts_that_failed_are_told_in_the_words_of_istio(recorder, facts, calls):
    record = calls.ended(cluster="reviews").record
    recorder(AttemptFailed(record, Failure(Cause.TIMEOUT), "retry"))
    labels = "cluster", "response_code", "grpc_response_status", "response_flags"
    found = values(recorder, facts, "meshlib_failed_attempts_total", *labels)
    assert found == {("reviews", "504", "", "UT"): 1}


def test_health_checks_are_told_where_there_are_any(recorder, engine, facts):
    apply(engine, WELL)
    name = "meshlib_health_checks_total"
    assert values(recorder, facts, name, "cluster", "result") == {}
    engine.clusters["reviews"].checks[Result.FAILED] += 2
    assert values(recorder, facts, name, "cluster", "result") == {
        ("reviews", "passed"): 0,
        ("reviews", "failed"): 2,
        ("reviews", "unreached"): 0,
    }


def test_connections_are_told_by_what_came_of_them(recorder, engine, facts):
    apply(engine, WELL)
    engine.clusters["reviews"].connections["made"] += 3
    found = values(recorder, facts, "meshlib_connections_total", "cluster", "result")
    assert found == {("reviews", "made"): 3}


def test_faults_on_purpose_are_told(recorder, engine, facts, monkeypatch):
    monkeypatch.setattr(Engine, "faults", {"routes/fault": {"delays_injected": 3}})
    monkeypatch.setattr(Engine, "active_faults", {"routes": 2})
    found = values(recorder, facts, "meshlib_faults_total", "place", "kind")
    assert found == {("routes/fault", "delays_injected"): 3}
    assert values(recorder, facts, "meshlib_faults_active", "place") == {("routes",): 2}


def test_what_rate_limits_and_breakers_turned_away_is_told(recorder, engine, facts, monkeypatch):
    apply(engine, WELL)
    monkeypatch.setattr(Engine, "rate_limits", {"inbound/limit": {"ok": 5, "limited": 2}})
    found = values(recorder, facts, "meshlib_rate_limit_total", "place", "result")
    assert found == {("inbound/limit", "ok"): 5, ("inbound/limit", "limited"): 2}
    engine.clusters["reviews"].high.overflows = 3
    found = values(recorder, facts, "meshlib_circuit_breaker_overflow_total", "priority")
    assert found == {("default",): 0, ("high",): 3}


def test_a_limit_that_adapts_is_told_beside_what_is_in_use(recorder, engine, facts):
    wanted = HttpFilter(name="adaptive", config=AdaptiveConcurrency(min_concurrency=3))
    served = Route(match=RouteMatch(path=PathPrefix("/")), action=NonForwardingAction())
    host = VirtualHost(name="all", domains=("*",), routes=(served,))
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="inbound", virtual_hosts=(host,)),
        http_filters=(wanted, HttpFilter(name="router", config=Router())),
    )
    engine.apply(gather(listeners=[Listener(name="inbound", http=http)]))
    steps = engine.inbound(Request("", "GET", "/"))
    steps.send(None)
    name = "meshlib_adaptive_concurrency"
    assert values(recorder, facts, f"{name}_limit") == {(): 3}
    assert values(recorder, facts, f"{name}_active") == {(): 1}
    steps.close()
    assert values(recorder, facts, f"{name}_active") == {(): 0}


# --- from a control plane's word until it is in force ---


def test_a_push_is_timed_from_its_arrival():
    pushes = PushToApply()
    pushes.applied(at=10.2, came=10.0)
    found = pushes.now()
    assert isinstance(found, Distribution)
    assert (found.count, found.total) == (1, pytest.approx(0.2))
    assert found.counts[BUCKETS.index(0.25)] == 1


@pytest.mark.parametrize(
    "came",
    [
        pytest.param(10.0, id="nothing new came"),
        pytest.param(12.1, id="the next one is here already"),
        pytest.param(None, id="nothing ever came"),
    ],
)
def test_what_no_new_word_put_in_force_is_no_push(came):
    pushes = PushToApply()
    pushes.applied(at=10.0, came=10.0)
    pushes.applied(12.0, came)
    assert pushes.now().count == 1


def test_whoever_hears_of_configurations_hears_when(calls):
    heard = []
    recorder = Recorder(clock=lambda: 4.0, applied=heard.append)
    recorder(ConfigApplied("v1", 1, 1))
    assert heard == [4.0]


def test_every_metric_has_a_text_of_its_own_kind(recorder, engine, facts):
    apply(engine, WELL)
    for metric in member_metrics(recorder, facts):
        assert metric.text
        if metric.name.startswith("meshlib_"):
            assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total")
