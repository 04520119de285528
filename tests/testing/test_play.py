from typing import Any

import pytest

from meshlib.dataplane import (
    AskRateLimit,
    CallRecord,
    Deliver,
    Failure,
    RateLimitVerdict,
    Response,
    Send,
)
from meshlib.model import CircuitBreakers, HedgePolicy, RouteAction, Thresholds
from meshlib.testing import (
    REVIEWS,
    A,
    B,
    Held,
    VirtualMesh,
    a_mesh,
    fails_with,
    get,
    hangs_up,
    ok,
    one_service,
    play,
    play_alike,
    refuses,
    resets,
    rpc,
    said,
    slow,
)

GET = get(REVIEWS)


@pytest.mark.parametrize("driver", ["blocking", "awaiting"])
def test_a_call_is_told_as_it_went(driver) -> None:
    mesh = a_mesh({A: slow(2.0, fails_with(503)), B: ok((("x", "1"),))}, retries=1)
    call = play(mesh, GET, driver=driver)
    assert call.outcome == Response(200, (("x", "1"),))
    assert call.attempts == [A, B]
    assert call.elapsed == 2.0
    sent = {"method": "GET", "authority": REVIEWS, "path": "/", "headers": {}}
    assert call.trace == [
        {"at": 0.0, "what": "send", "endpoint": A, **sent, "timeout": 15.0},
        {"at": 2.0, "what": "send", "endpoint": B, **sent, "timeout": 13.0},
        {"at": 2.0, "what": "deliver", "outcome": "200"},
    ]


def test_an_upstream_plays_its_part_in_turn_and_repeats_the_last() -> None:
    mesh = a_mesh({A: [fails_with(500), resets(), ok()]})
    outcomes = [said(play(mesh, GET).outcome) for _ in range(4)]
    assert outcomes == ["500", "UC", "200", "200"]


def test_a_slow_upstream_is_cut_off_by_the_time_out() -> None:
    mesh = a_mesh({A: slow(9.0)}, timeout=3.0)
    call = play(mesh, GET)
    assert (said(call.outcome), call.elapsed) == ("UT", 3.0)
    call = play(mesh, rpc(REVIEWS, deadline=mesh.clock() + 1.0))
    assert isinstance(call.outcome, Failure)
    assert call.outcome.grpc_status == 4


def test_an_upstream_may_change_its_mind() -> None:
    mesh = a_mesh({A: refuses()})
    assert said(play(mesh, GET).outcome) == "UF"
    mesh.script({A: ok()})
    assert said(play(mesh, GET).outcome) == "200"


@pytest.mark.parametrize("driver", ["blocking", "awaiting"])
def test_a_held_call_is_in_flight_until_it_ends(driver) -> None:
    mesh = a_mesh({A: ok()})
    (live,) = mesh.engine.clusters["reviews"].balance.endpoints.values()
    ended, dropped = (play(mesh, GET, driver=driver, hold=True) for _ in range(2))
    assert live.active == 2
    ended.end()
    assert live.active == 1
    dropped.drop()
    assert live.active == 0


def test_news_come_in_while_time_passes() -> None:
    mesh = VirtualMesh(one_service([A]), news=[(5.0, one_service([B]))])
    mesh.passes(4.0)
    assert play(mesh, GET).attempts == [A]
    mesh.passes(1.0)
    assert play(mesh, GET).attempts == [B]


def test_a_difference_between_the_loops_is_noticed() -> None:
    meshes = iter([a_mesh({A: ok()}), a_mesh({A: fails_with(500)})])
    with pytest.raises(AssertionError, match="is not"):
        play_alike(lambda: next(meshes), GET)


def test_a_caller_who_hangs_up_gets_nothing_delivered() -> None:
    call = play(a_mesh({A: hangs_up()}), GET)
    assert [event["what"] for event in call.trace] == ["send"]
    assert said(call.outcome) == "DC"


def test_a_defect_of_the_script_is_not_swallowed() -> None:
    def broken(_: Send) -> None:
        raise ZeroDivisionError

    mesh = a_mesh({A: ok()})
    mesh.perform = broken  # type: ignore[assignment,method-assign]
    with pytest.raises(ZeroDivisionError):
        play(mesh, GET)
    assert mesh.engine.clusters["reviews"].breaker.concurrency.active == 0


# --- attempts beside each other, turns, verdicts ---


def hedged(upstreams: Any, **hedge: Any) -> VirtualMesh:
    action = RouteAction(cluster="reviews", hedge_policy=HedgePolicy(**hedge))
    return VirtualMesh(one_service(upstreams, action=action), upstreams)


def test_attempts_that_race_end_in_the_order_of_time() -> None:
    upstreams = {A: slow(3.0), B: slow(2.0)}
    (call,) = play_alike(lambda: hedged(upstreams, initial_requests=2, hedging_delay=0.5), GET)
    assert [(event["at"], event["what"]) for event in call.trace] == [
        (0.0, "send"),
        (0.5, "send"),
        (2.5, "finish"),
        (2.5, "deliver"),
    ]
    assert call.trace[2]["number"] == 1
    assert call.attempts == [A, B]


def test_a_caller_may_hang_up_during_a_race() -> None:
    mesh = hedged({A: slow(3.0), B: hangs_up()}, initial_requests=2)
    assert said(play(mesh, GET).outcome) == "DC"


def test_something_may_happen_at_a_moment_of_its_own() -> None:
    mesh = a_mesh({A: slow(5.0)})
    seen: list[float] = []
    mesh.at(4.0, lambda: seen.append(mesh.clock()))
    mesh.at(2.0, lambda: seen.append(mesh.clock()))
    mesh.at(9.0, lambda: seen.append(mesh.clock()))
    play(mesh, GET)
    assert seen == [2.0, 4.0]


def test_a_call_that_is_held_for_a_while_ends_in_the_next_one() -> None:
    def make() -> VirtualMesh:
        mesh = a_mesh({A: [ok(), slow(5.0)]})
        mesh.at(1.0, lambda: active.append(live(mesh)))
        mesh.at(3.0, lambda: active.append(live(mesh)))
        return mesh

    def live(mesh: VirtualMesh) -> int:
        return mesh.engine.clusters["reviews"].breaker.concurrency.active

    active: list[int] = []
    play_alike(make, Held(GET, 2.0), GET)
    assert active == [2, 1] * 2


def test_a_wait_that_nobody_could_end_is_a_defect_of_the_test() -> None:
    limits = CircuitBreakers(default=Thresholds(max_connections=1))
    action = RouteAction(cluster="reviews", timeout=0.0)
    mesh = VirtualMesh(one_service([A], action=action, circuit_breakers=limits))
    held = play(mesh, GET, hold=True)
    with pytest.raises(AssertionError, match="nobody else"):
        play(mesh, GET)
    held.end()


@pytest.mark.parametrize("driver", ["blocking", "awaiting"])
def test_a_rate_limit_service_answers_as_it_is_told(driver) -> None:
    from meshlib.middleware._drive import adrive, drive
    from meshlib.testing._play import _awaited

    verdicts = [RateLimitVerdict(ok=False), RateLimitVerdict(ok=True)]
    mesh = VirtualMesh(one_service([A]), verdicts=verdicts)
    (live,) = mesh.engine.clusters["reviews"].balance.endpoints.values()
    asked = []

    def steps() -> Any:
        for _ in range(3):
            verdict = yield AskRateLimit(live, "domain", ((("key", "value"),),), 0.02)
            asked.append(verdict)
        yield Deliver(Response(200), CallRecord(GET, 0.0))

    runtime = mesh.runtime
    if driver == "blocking":
        drive(runtime, steps(), runtime.send)
    else:
        _awaited(adrive(runtime, steps(), runtime.asend))
    assert [verdict.ok for verdict in asked] == [False, True, True]
    event = mesh.trace[0]
    assert (event["what"], event["endpoint"], event["domain"]) == ("ask_rate_limit", A, "domain")
