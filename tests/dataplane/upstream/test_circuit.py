import pytest

from meshlib.dataplane.upstream.circuit import CircuitBreaker
from meshlib.model import RetryBudget, Thresholds


def breaker(active: int, retries: int, **limits: object) -> CircuitBreaker:
    made = CircuitBreaker(Thresholds(**limits))  # type: ignore[arg-type]
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
