import pytest

from meshlib.dataplane import Turn
from meshlib.dataplane.upstream.circuit import CircuitBreaker
from meshlib.model import RetryBudget, Thresholds


def breaker(active: int, retries: int, *, shared: bool = True, **limits: object) -> CircuitBreaker:
    made = CircuitBreaker(Thresholds(**limits), shared=shared)  # type: ignore[arg-type]
    made.concurrency.active = active
    made.concurrency.retries = retries
    return made


@pytest.mark.parametrize(("active", "is_open"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_breaker_is_open_when_its_limit_is_reached(active: int, is_open: bool) -> None:
    assert breaker(active, 0, max_requests=2).is_open is is_open


@pytest.mark.parametrize(("retries", "allowed"), [(0, True), (2, True), (3, False)])
def test_without_a_budget_the_number_of_retries_counts(retries: int, allowed: bool) -> None:
    assert breaker(1000, retries).may_retry() is allowed


@pytest.mark.parametrize(
    ("active", "retries", "allowed"),
    [
        (1, 2, True),
        (1, 3, False),
        (19, 3, False),
        (20, 3, True),
        (24, 4, False),
        (25, 4, True),
        (100, 19, True),
        (100, 20, False),
    ],
)
def test_a_budget_is_a_share_of_the_calls_in_flight(
    active: int, retries: int, allowed: bool
) -> None:
    assert breaker(active, retries, retry_budget=RetryBudget()).may_retry() is allowed


def test_a_call_that_retries_again_passes_its_own_permit_on() -> None:
    assert not breaker(1, 1, max_retries=1).may_retry()
    assert breaker(1, 1, max_retries=1).may_retry(again=True)
    assert not breaker(1, 2, max_retries=1).may_retry(again=True)


def test_those_who_wait_count_for_the_budget_too() -> None:
    made = breaker(20, 4, retry_budget=RetryBudget(), max_connections=20, shared=False)
    assert not made.may_retry()
    for _ in range(5):
        made.line_up()
    assert made.may_retry()


def test_shared_connections_are_no_bound_to_calls() -> None:
    assert not breaker(5000, 0, max_connections=1, max_requests=9000).must_wait


def test_calls_line_up_for_connections_that_take_one_call_each() -> None:
    made = breaker(1, 0, max_connections=2, shared=False)
    assert not made.must_wait
    made.concurrency.active = 2
    assert made.must_wait
    assert made.line_up() is not None


def test_the_line_has_an_end() -> None:
    made = breaker(1, 0, max_connections=1, max_pending_requests=2, shared=False)
    assert made.line_up() is not None
    assert made.line_up() is not None
    assert made.line_up() is None


def test_nobody_waits_where_nobody_may() -> None:
    assert breaker(1, 0, max_connections=1, max_pending_requests=0, shared=False).line_up() is None


def lined_up(made: CircuitBreaker) -> Turn:
    turn = made.line_up()
    assert turn is not None
    return turn


def released(made: CircuitBreaker) -> None:
    made.concurrency.active -= 1
    made.next_turn()


def test_turns_come_in_the_order_of_the_line() -> None:
    made = breaker(1, 0, max_connections=1, shared=False)
    first, second = lined_up(made), lined_up(made)
    released(made)
    assert (first.granted, second.granted) == (True, False)
    assert made.concurrency.active == 1
    released(made)
    assert second.granted


def test_who_comes_while_others_wait_goes_to_the_end_of_the_line() -> None:
    made = breaker(1, 0, max_connections=2, shared=False)
    made.waiting.append(Turn())
    assert made.must_wait


def test_a_release_wakes_who_waits() -> None:
    made, woken = breaker(1, 0, max_connections=1, shared=False), []
    lined_up(made).wake = lambda: woken.append("first")
    released(made)
    assert woken == ["first"]


def test_who_goes_away_leaves_its_place_to_the_next() -> None:
    made = breaker(1, 0, max_connections=1, shared=False)
    first, second = lined_up(made), lined_up(made)
    made.leave(first)
    released(made)
    assert second.granted
    assert not first.granted


def test_a_turn_that_comes_too_late_goes_to_the_next() -> None:
    made = breaker(1, 0, max_connections=1, shared=False)
    first, second = lined_up(made), lined_up(made)
    released(made)
    assert first.granted
    made.leave(first)
    assert second.granted
    assert made.concurrency.active == 1
    made.leave(second)
    assert made.concurrency.active == 0


def test_a_higher_limit_lets_in_at_once_who_waits() -> None:
    made = breaker(1, 0, max_connections=1, shared=False)
    turns = [lined_up(made) for _ in range(3)]
    made.reconfigure(Thresholds(max_connections=3), shared=False, hosts=1)
    assert [turn.granted for turn in turns] == [True, True, False]
    made.reconfigure(Thresholds(max_connections=3), shared=True, hosts=1)
    assert turns[2].granted


def test_a_turn_does_not_break_the_limit_of_requests() -> None:
    made = breaker(2, 0, max_connections=5, max_requests=2, shared=False)
    turn = lined_up(made)
    made.next_turn()
    assert not turn.granted
    released(made)
    assert turn.granted


@pytest.mark.parametrize(
    ("limits", "connections"),
    [
        ({"max_connections": 9, "max_connections_per_host": 2}, 6),
        ({"max_connections": 4, "max_connections_per_host": 2}, 4),
        ({"max_connections": 9, "max_connections_per_host": 0}, 3),
        ({"max_connections": 0}, 1),
    ],
)
def test_hosts_may_have_a_limit_each_but_never_of_none(
    limits: dict[str, int], connections: int
) -> None:
    assert CircuitBreaker(Thresholds(**limits), shared=False, hosts=3).connections == connections
