"""Loss of the control plane: back-off, quick returns, and what is kept meanwhile."""

import pytest

from meshlib.testing.ads import AdsPair
from meshlib.xds.backoff import Backoff
from meshlib.xds.types import LISTENER


def test_c1_a_stream_that_ends_after_an_answer_is_opened_again_at_once(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.jump(100)
    pair.close()
    assert pair.opened == [0, 100]
    assert pair.reports == []
    assert pair.discovery.watches.connection_error == ""


def test_c1_a_stream_that_ends_without_an_answer_is_an_error(connected) -> None:
    pair = connected("a")
    pair.close("UNAVAILABLE: refused")
    assert not pair.wants_stream
    assert pair.discovery.watches.connection_error == "UNAVAILABLE: refused"
    assert pair.reports == ["no answer from the control plane: UNAVAILABLE: refused"]


def test_c1_the_same_failure_is_reported_once_until_an_answer_comes(pair, world) -> None:
    pair.watch("a")
    for _ in range(3):
        pair.connect()
        pair.close("refused")
        pair.jump(40)
    assert len(pair.reports) == 1
    pair.connect()
    pair.respond(LISTENER, world.listener("a"))
    pair.jump(10)
    pair.close()
    pair.connect()
    pair.close("refused")
    assert len(pair.reports) == 2


def waits(luck: float, tries: int) -> list[float]:
    pair = AdsPair(luck=luck)
    pair.watch("a")
    measured = []
    for _ in range(tries):
        pair.open()
        pair.close("refused")
        closed = pair.now
        pair.jump(200)
        measured.append(pair.opened[-1] - closed)
    return measured


def test_c2_failures_wait_one_second_and_then_longer_up_to_two_minutes() -> None:
    assert waits(0.5, 4) == pytest.approx([1, 1.6, 2.56, 4.096])
    assert waits(0.5, 14)[-1] == pytest.approx(120)


@pytest.mark.parametrize(("luck", "first"), [(0.0, 0.8), (0.999999, 1.2)])
def test_c2_each_wait_is_off_by_a_fifth_at_most(luck, first) -> None:
    assert waits(luck, 1) == pytest.approx([first], abs=1e-3)


def test_c2_an_answer_resets_the_back_off(pair, world) -> None:
    pair.watch("a")
    for _ in range(5):
        pair.open()
        pair.close("refused")
        pair.jump(60)
    pair.connect()
    pair.respond(LISTENER, world.listener("a"))
    pair.jump(10)
    pair.close()
    pair.open()
    pair.close("refused")
    closed = pair.now
    pair.jump(60)
    assert pair.opened[-1] - closed == pytest.approx(1)


def test_c3_a_server_that_answers_once_and_dies_is_not_hammered(pair, world) -> None:
    pair.watch("a")
    for _ in range(5):
        pair.connect()
        pair.respond(LISTENER, world.listener("a"))
        pair.close()
        pair.jump(100)
    gaps = [later - 100 * n for n, later in enumerate(pair.opened)]
    assert gaps == pytest.approx([0, -100, -99, -98.4, -97.44, -95.904])


def test_c3_a_stream_that_lived_is_forgiven(pair, world) -> None:
    pair.watch("a")
    for _ in range(5):
        pair.connect()
        pair.respond(LISTENER, world.listener("a"))
        pair.jump(5)
        pair.close()
        assert pair.opened[-1] == pair.now


def test_c4_the_last_good_configuration_is_kept_without_limit(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "c"))
    good = pair.snapshot
    pair.close()
    for _ in range(50):
        pair.open()
        pair.close("refused")
        pair.jump(3600)
    assert pair.snapshot == good
    assert good.clusters
    assert pair.discovery.watches.get(LISTENER, "a").resource is not None


def test_a_stream_is_not_wanted_twice_while_one_is_waited_for(pair) -> None:
    pair.watch("a")
    pair.open()
    pair.close("refused")
    pair.watch("b")
    assert not pair.wants_stream
    pair.jump(1)
    pair.open()
    assert pair.take()[-1].asked == ("a", "b")


def test_back_off_starts_over_when_reset() -> None:
    backoff = Backoff(lambda: 0.5)
    assert [backoff.next(), backoff.next()] == pytest.approx([1, 1.6])
    backoff.reset()
    assert backoff.next() == pytest.approx(1)
