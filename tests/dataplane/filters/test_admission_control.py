from dataclasses import replace

import pytest

from meshlib.dataplane import Cause, Failure
from meshlib.dataplane.filters.admission_control import History
from meshlib.model import AdmissionControl, HttpFilter
from meshlib.testing import (
    REVIEWS,
    A,
    FakeClock,
    always,
    fails_with,
    get,
    grpc_status,
    ok,
    play,
    rpc,
    said,
)

NAME = "envoy.filters.http.admission_control"
CONFIG = AdmissionControl()


def guarded(config: AdmissionControl = CONFIG) -> tuple[HttpFilter, ...]:
    return (HttpFilter(name=NAME, config=config),)


def after(filtered, config, *, good=0, bad=0, roll=0.0):
    """A mesh that has seen so many good and bad calls, and whose next roll is this."""
    rolls = [0.999999]
    mesh = filtered(guarded(config), {A: ok()}, dice=lambda: rolls[0])
    for reply, number in ((ok(), good), (fails_with(503), bad)):
        mesh.script({A: reply})
        for _ in range(number):
            play(mesh, get(REVIEWS))
    mesh.script({A: ok()})
    rolls[0] = roll
    return mesh


def outcome_of_next(mesh) -> str:
    return said(play(mesh, get(REVIEWS)).outcome)


def test_where_all_goes_well_nobody_is_refused(filtered) -> None:
    assert outcome_of_next(after(filtered, CONFIG, good=100)) == "200"


@pytest.mark.parametrize(("roll", "outcome"), [(0.37, "503"), (0.38, "200")])
def test_the_probability_is_envoys(filtered, roll, outcome) -> None:
    # (100 - 60 / 0.95) / 101 = 0.3647: of 100 calls 60 went well, and 95 % should have.
    mesh = after(filtered, replace(CONFIG, rps_threshold=0), good=60, bad=40, roll=roll - 0.01)
    assert outcome_of_next(mesh) == outcome


def test_aggression_refuses_more(filtered) -> None:
    # 0.3647 to the power of 1/2.
    config = replace(CONFIG, aggression=2.0)
    mesh = after(filtered, config, good=60, bad=40, roll=0.60)
    assert outcome_of_next(mesh) == "503"


def test_some_calls_always_go_through(filtered) -> None:
    mesh = after(filtered, CONFIG, bad=200, roll=0.81)
    assert outcome_of_next(mesh) == "200"


def test_few_calls_are_let_alone(filtered) -> None:
    config = replace(CONFIG, rps_threshold=50)
    mesh = after(filtered, config, bad=40)
    assert outcome_of_next(mesh) == "200"
    assert outcome_of_next(after(filtered, config, bad=60)) == "503"


def test_what_is_older_than_the_window_is_forgotten(filtered) -> None:
    mesh = after(filtered, CONFIG, bad=100)
    mesh.clock.jump(30.0)
    assert outcome_of_next(mesh) == "200"


def test_a_refusal_says_so(filtered) -> None:
    mesh = after(filtered, CONFIG, bad=100)
    refused = play(mesh, rpc(REVIEWS)).outcome
    assert isinstance(refused, Failure)
    assert (refused.cause, refused.grpc_status) == (Cause.OVERLOADED, 14)
    assert mesh.events[-1].record.flags == ("OM",)


@pytest.mark.parametrize(("code", "refused"), [(0, False), (5, False), (14, True), (4, True)])
def test_grpc_calls_are_judged_by_their_status(filtered, code, refused) -> None:
    rolls = [0.999999]
    mesh = filtered(guarded(), {A: grpc_status(code)}, dice=lambda: rolls[0])
    for _ in range(50):
        play(mesh, rpc(REVIEWS))
    rolls[0] = 0.0
    assert (play(mesh, rpc(REVIEWS)).attempts == []) is refused


def test_a_caller_who_leaves_counts_as_a_failure_as_envoy_has_it(filtered) -> None:
    mesh = filtered(guarded(), dice=always(0.0))
    for _ in range(2):
        steps = mesh.engine.outbound(get(REVIEWS))
        next(steps)
        steps.close()
        if mesh.events[-1].record.flags:
            return
    assert play(mesh, get(REVIEWS)).attempts == []


def test_calls_are_counted_by_the_second() -> None:
    clock = FakeClock()
    history = History(30.0, clock)
    for second in range(40):
        clock.now = float(second)
        history.record(success=second % 2 == 0)
    assert (history.requests, history.successes) == (30, 15)
    assert history.rps == pytest.approx(30 / 29)
