import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.dataplane import Cause, Engine, Failure, Options, Response
from meshlib.dataplane.filters.adaptive_concurrency import GradientController
from meshlib.model import AdaptiveConcurrency, HttpFilter
from meshlib.testing import REVIEWS, FakeClock, always, get, play, rpc, said

NAME = "envoy.filters.http.adaptive_concurrency"
QUICK = AdaptiveConcurrency(min_rtt_request_count=5, min_rtt_interval=60.0, min_rtt_jitter=0.0)


def controller(config: AdaptiveConcurrency = QUICK) -> tuple[GradientController, FakeClock]:
    clock = FakeClock()
    return GradientController(config, clock, always(0.0)), clock


def calls(made: GradientController, clock: FakeClock, number: int, seconds: float) -> None:
    """So many calls one after the other, each of so many seconds."""
    for _ in range(number):
        began = clock()
        assert made.admits()
        clock.jump(seconds)
        made.ended(began)


def test_the_least_latency_is_measured_first_with_few_calls_at_once() -> None:
    made, clock = controller()
    assert (made.is_measuring, made.limit) == (True, 3)
    calls(made, clock, 4, 0.01)
    assert made.is_measuring
    calls(made, clock, 1, 0.01)
    assert not made.is_measuring


def test_the_limit_grows_while_latency_stays_low() -> None:
    made, clock = controller()
    calls(made, clock, 5, 0.01)
    calls(made, clock, 11, 0.01)
    # 3 x 1.25 (the buffer), and its square root as room for bursts: Envoy's formula.
    assert made.limit == int(3.75 + 3.75**0.5)


def test_the_limit_shrinks_when_latency_rises_but_never_below_the_least() -> None:
    made, clock = controller()
    calls(made, clock, 5, 0.01)
    calls(made, clock, 120, 0.01)
    high = made.limit
    calls(made, clock, 2, 0.2)
    assert made.limit < high
    limits = []
    for _ in range(12):
        calls(made, clock, 1, 0.2)
        limits.append(made.limit)
    assert min(limits) == 3


def test_the_limit_never_passes_the_most() -> None:
    config = AdaptiveConcurrency(min_rtt_request_count=5, max_concurrency_limit=10)
    made, clock = controller(config)
    calls(made, clock, 2000, 0.01)
    assert made.limit == 10


def test_the_least_latency_is_measured_anew_from_time_to_time() -> None:
    made, clock = controller()
    calls(made, clock, 5, 0.01)
    calls(made, clock, 200, 0.01)
    grown = made.limit
    clock.jump(60.0)
    assert made.admits()
    assert (made.is_measuring, made.limit) == (True, 3)
    calls(made, clock, 5, 0.02)
    assert not made.is_measuring
    assert made.limit == grown


def test_five_windows_at_the_least_ask_for_a_new_measure() -> None:
    made, clock = controller()
    calls(made, clock, 5, 0.01)
    for _ in range(4):
        calls(made, clock, 1, 1.0)
    assert not made.is_measuring
    calls(made, clock, 2, 1.0)
    assert made.is_measuring


def test_a_fixed_least_latency_is_not_measured() -> None:
    made, clock = controller(AdaptiveConcurrency(fixed_min_rtt=0.01))
    assert not made.is_measuring
    calls(made, clock, 21, 0.005)
    assert made.limit == int(6 + 6**0.5)


def test_calls_begun_before_a_measure_are_no_part_of_it() -> None:
    made, clock = controller()
    calls(made, clock, 5, 0.01)
    began = clock()
    clock.jump(60.0)
    made.admits()
    for _ in range(10):
        made.ended(began)
    assert made.is_measuring


@given(st.lists(st.floats(0.0, 10.0), max_size=200))
def test_the_limit_stays_within_its_bounds(latencies) -> None:
    config = AdaptiveConcurrency(min_rtt_request_count=3, max_concurrency_limit=50)
    made, clock = controller(config)
    for seconds in latencies:
        began = clock()
        made.admits()
        clock.jump(seconds)
        made.ended(began)
        assert 3 <= made.limit <= 50


def test_a_call_too_many_is_shed(filtered) -> None:
    config = AdaptiveConcurrency(min_concurrency=1)
    mesh = filtered((HttpFilter(name=NAME, config=config),))
    held = play(mesh, get(REVIEWS), hold=True)
    shed = play(mesh, get(REVIEWS))
    assert (said(shed.outcome), shed.attempts) == ("503", [])
    assert isinstance(shed.outcome, Response)
    assert shed.outcome.body == b"reached concurrency limit"
    assert mesh.events[-1].record.flags == ("OM",)
    refused = play(mesh, rpc(REVIEWS)).outcome
    assert isinstance(refused, Failure)
    assert (refused.cause, refused.grpc_status) == (Cause.OVERLOADED, 14)
    held.end()
    assert said(play(mesh, get(REVIEWS)).outcome) == "200"


def test_callers_who_leave_give_their_places_back(filtered) -> None:
    mesh = filtered((HttpFilter(name=NAME, config=AdaptiveConcurrency(min_concurrency=1)),))
    for _ in range(3):
        steps = mesh.engine.outbound(get(REVIEWS))
        next(steps)
        steps.close()
    assert said(play(mesh, get(REVIEWS)).outcome) == "200"


@pytest.mark.parametrize(("lag", "status"), [(0.05, 200), (0.2, 503)])
def test_a_server_whose_loop_is_late_sheds_load(serving, lag, status) -> None:
    options = Options(loop_lag=lambda: lag)
    engine = Engine(clock=FakeClock(), dice=always(0.0), options=options)
    config = HttpFilter(name=NAME, config=AdaptiveConcurrency(max_loop_lag=0.1))
    outcome, _ = serving(engine, get("here:80"), (config,))
    assert outcome.status == status
