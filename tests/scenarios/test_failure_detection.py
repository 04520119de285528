"""What callers see of failing endpoints that are found out; under both loops, in virtual time."""

from collections.abc import Callable
from typing import Any

import pytest

from meshlib.dataplane import EndpointEjected, EndpointReturned
from meshlib.model import CircuitBreakers, OutlierDetection, Random, Static, Thresholds
from meshlib.testing import (
    REVIEWS,
    A,
    B,
    C,
    VirtualMesh,
    a_mesh,
    assignment,
    fails_with,
    get,
    grpc_status,
    ok,
    one_service,
    play,
    refuses,
    resets,
    rpc,
    said,
    slow,
)

GET = get(REVIEWS)
EJECTING = OutlierDetection(consecutive_5xx=3, max_ejection_percent=50)


@pytest.fixture(params=["blocking", "awaiting"])
def call(request) -> Callable[..., list[str]]:
    """Make some calls, one after the other; what came of each."""

    def made(mesh: VirtualMesh, times: int, what: Any = GET) -> list[str]:
        return [said(play(mesh, what, driver=request.param).outcome) for _ in range(times)]

    return made


def facts(mesh: VirtualMesh) -> list[str]:
    found = []
    for event in mesh.events:
        match event:
            case EndpointEjected():
                found.append(f"{event.endpoint.key} ejected: {event.reason}, {event.until:g}")
            case EndpointReturned():
                found.append(f"{event.endpoint.key} returned")
    return found


def test_calls_stop_failing_when_the_failing_endpoint_is_ejected(call) -> None:
    mesh = a_mesh({A: fails_with(500), B: ok()}, outlier_detection=EJECTING)
    assert call(mesh, 6).count("500") == 3
    assert call(mesh, 20) == ["200"] * 20
    assert facts(mesh) == [f"{A} ejected: consecutive_5xx, 30"]


def test_an_endpoint_that_is_well_again_is_called_again(call) -> None:
    mesh = a_mesh({A: fails_with(500), B: ok()}, outlier_detection=EJECTING)
    call(mesh, 6)
    mesh.script({A: ok()})
    mesh.passes(29.0)
    assert attempts(mesh, 10) == {B}
    mesh.passes(1.0)
    assert attempts(mesh, 10) == {A, B}
    assert facts(mesh)[-1] == f"{A} returned"


def attempts(mesh: VirtualMesh, times: int) -> set[str]:
    return {address for _ in range(times) for address in play(mesh, GET).attempts}


def test_an_endpoint_that_stays_bad_is_ejected_for_longer_each_time(call) -> None:
    mesh = a_mesh({A: fails_with(500), B: ok()}, outlier_detection=EJECTING)
    for pause in (30.0, 60.0, 90.0):
        call(mesh, 10)
        assert attempts(mesh, 10) == {B}
        mesh.passes(pause)
    untils = [event.until for event in mesh.events if isinstance(event, EndpointEjected)]
    assert untils == [30.0, 90.0, 180.0]


@pytest.mark.parametrize("trouble", [grpc_status(14), grpc_status(13), resets()])
def test_failures_of_grpc_calls_eject_too(call, trouble) -> None:
    mesh = a_mesh({A: trouble, B: ok()}, outlier_detection=EJECTING)
    call(mesh, 10, rpc(REVIEWS))
    assert facts(mesh) == [f"{A} ejected: consecutive_5xx, 30"]
    assert call(mesh, 10, rpc(REVIEWS)) == ["200"] * 10


def test_an_endpoint_that_cannot_be_reached_is_spared_first_and_ejected_at_last(call) -> None:
    detection = OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=3,
        max_ejection_percent=50,
    )
    mesh = a_mesh({A: refuses(), B: ok()}, outlier_detection=detection)
    for _ in range(3):
        assert facts(mesh) == []
        assert call(mesh, 8, rpc(REVIEWS)) == ["200"] * 8
        mesh.passes(3.0)
    assert facts(mesh) == [f"{A} ejected: consecutive_local_origin_failure, 36"]


def test_answers_that_only_displease_the_caller_eject_nobody(call) -> None:
    mesh = a_mesh({A: fails_with(404), B: grpc_status(5)}, outlier_detection=EJECTING)
    call(mesh, 20)
    assert facts(mesh) == []


def test_time_outs_eject(call) -> None:
    mesh = a_mesh({A: slow(9.0), B: ok()}, timeout=1.0, outlier_detection=EJECTING)
    assert call(mesh, 6).count("UT") == 3
    assert call(mesh, 10) == ["200"] * 10


def test_retries_hide_failures_from_callers_and_not_from_the_detection(call) -> None:
    mesh = a_mesh({A: fails_with(503), B: ok()}, retries=2, outlier_detection=EJECTING)
    assert call(mesh, 6) == ["200"] * 6
    assert facts(mesh) == [f"{A} ejected: consecutive_5xx, 30"]
    assert len(play(mesh, GET).attempts) == 1


def test_the_worst_of_many_is_ejected_by_the_sweep(call) -> None:
    addresses = [f"10.0.0.{n}:80" for n in range(6)]
    upstreams = {address: ok() for address in addresses}
    upstreams[addresses[0]] = [fails_with(500), ok()] * 10  # type: ignore[assignment]
    detection = OutlierDetection(
        consecutive_5xx=99, success_rate_request_volume=10, max_ejection_percent=20
    )
    mesh = a_mesh(upstreams, outlier_detection=detection)
    call(mesh, 6 * 20)
    assert facts(mesh) == []
    mesh.passes(10.0)
    assert call(mesh, 30) == ["200"] * 30
    assert facts(mesh) == [f"{addresses[0]} ejected: success_rate, 40"]


def test_with_everybody_ejected_calls_go_to_all_of_them_again(call) -> None:
    detection = OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)
    mesh = a_mesh({A: fails_with(500), B: fails_with(500)}, outlier_detection=detection)
    call(mesh, 2)
    mesh.script({A: ok(), B: ok()})
    assert call(mesh, 4) == ["200"] * 4
    assert len(facts(mesh)) == 2


def test_without_a_panic_threshold_nobody_is_called_then(call) -> None:
    detection = OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)
    mesh = a_mesh(
        {A: fails_with(500), B: fails_with(500)},
        outlier_detection=detection,
        healthy_panic_threshold=0.0,
    )
    assert call(mesh, 4) == ["500", "500", "UH", "UH"]
    mesh.script({A: ok(), B: ok()})
    mesh.passes(30.0)
    assert call(mesh, 4) == ["200"] * 4


def test_the_next_priority_takes_over_for_the_ejected(call) -> None:
    detection = OutlierDetection(consecutive_5xx=1, max_ejection_percent=50)
    mesh = a_mesh(
        {A: fails_with(500), B: ok()},
        outlier_detection=detection,
        discovery=Static(assignment([A], [B])),
    )
    assert call(mesh, 5) == ["500", "200", "200", "200", "200"]
    mesh.script({A: ok()})
    mesh.passes(30.0)
    assert attempts(mesh, 5) == {A}


def test_a_configuration_without_detection_lets_all_come_back_at_once(call) -> None:
    mesh = a_mesh({A: fails_with(500), B: ok()}, outlier_detection=EJECTING)
    call(mesh, 6)
    mesh.script({A: ok()})
    mesh.apply(one_service([A, B]))
    assert attempts(mesh, 6) == {A, B}
    assert facts(mesh)[-1] == f"{A} returned"


def test_another_configuration_does_not_forget_who_is_ejected(call) -> None:
    mesh = a_mesh({A: fails_with(500), B: ok()}, outlier_detection=EJECTING)
    call(mesh, 6)
    mesh.apply(one_service([A, B, C], outlier_detection=EJECTING, connect_timeout=1.0))
    assert attempts(mesh, 12) == {B, C}
    mesh.script({A: ok()})
    mesh.passes(30.0)
    assert attempts(mesh, 12) == {A, B, C}


def test_calls_above_the_limit_are_refused_until_others_end(call) -> None:
    limits = CircuitBreakers(default=Thresholds(max_requests=2))
    mesh = a_mesh({A: ok()}, circuit_breakers=limits)
    first, second = play(mesh, GET, hold=True), play(mesh, GET, hold=True)
    assert call(mesh, 2) == ["UO", "UO"]
    first.end()
    assert call(mesh, 2) == ["200", "200"]
    second.drop()
    assert mesh.engine.clusters["reviews"].breaker.concurrency.active == 0


def test_a_host_that_has_all_its_connections_is_spared(call) -> None:
    limits = CircuitBreakers(default=Thresholds(max_connections_per_host=1))
    mesh = a_mesh({A: ok(), B: ok()}, circuit_breakers=limits, lb_policy=Random())
    held = [play(mesh, GET, hold=True) for _ in range(2)]
    assert [one.attempts for one in held] == [[A], [B]]
    mesh.at(2.0, held[1].end)
    third = play(mesh, GET)
    assert third.attempts == [B]
    assert third.elapsed == 2.0


def test_without_hosts_nobody_waits_for_a_connection(call) -> None:
    mesh = a_mesh({})
    assert call(mesh, 3) == ["UH", "UH", "UH"]
    assert not mesh.engine.clusters["reviews"].breaker.must_wait
