import pytest

from meshlib.dataplane import Failure, Response, Send
from meshlib.testing import (
    REVIEWS,
    A,
    B,
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
