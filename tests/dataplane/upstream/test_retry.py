import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.dataplane import Cause, Failure, Outcome, Response
from meshlib.dataplane.upstream.retry import RetryRule, backoff
from meshlib.model import RETRY_CONDITIONS, RetryBackOff, RetryPolicy

OUTCOMES: dict[str, Outcome] = {
    "200": Response(200),
    "404": Response(404),
    "409": Response(409),
    "429": Response(429),
    "500": Response(500),
    "503": Response(503),
    "504": Response(504),
    "connect": Failure(Cause.CONNECT),
    "refused": Failure(Cause.REFUSED),
    "reset": Failure(Cause.RESET),
    "timeout": Failure(Cause.TIMEOUT),
    "grpc 0": Response(200, grpc_status=0),
    "grpc 4": Response(200, grpc_status=4),
    "grpc 8": Response(200, grpc_status=8),
    "grpc 13": Response(200, grpc_status=13),
    "grpc 14": Response(200, grpc_status=14),
    "grpc failed 14": Failure(Cause.RESET, grpc_status=14),
    "overflow": Failure(Cause.OVERFLOW),
    "cancelled": Failure(Cause.CANCELLED),
    "local": Failure(Cause.LOCAL),
}
BROKEN = {"connect", "refused", "reset", "timeout", "grpc failed 14"}


@pytest.mark.parametrize(
    ("retry_on", "wanted"),
    [
        ("", set()),
        ("no-such-condition", set()),
        ("5xx", {"500", "503", "504"} | BROKEN),
        ("gateway-error", {"503", "504"} | BROKEN),
        ("reset", BROKEN),
        ("connect-failure", {"connect"}),
        ("refused-stream", {"refused"}),
        ("reset-before-request", {"connect", "refused"}),
        ("retriable-4xx", {"409"}),
        ("retriable-status-codes", {"429"}),
        ("cancelled", set()),
        ("unavailable", {"grpc 14", "grpc failed 14"}),
        ("deadline-exceeded", {"grpc 4"}),
        ("resource-exhausted,internal", {"grpc 8", "grpc 13"}),
        ("connect-failure,retriable-4xx", {"connect", "409"}),
    ],
)
def test_an_outcome_is_retried_if_a_condition_names_it(retry_on: str, wanted: set[str]) -> None:
    rule = RetryRule(
        RetryPolicy(retry_on=tuple(retry_on.split(",")), retriable_status_codes=(429,))
    )
    assert {name for name, outcome in OUTCOMES.items() if rule.wants(outcome)} == wanted


def test_codes_count_only_with_their_condition() -> None:
    rule = RetryRule(RetryPolicy(retry_on=("reset",), retriable_status_codes=(429,)))
    assert not rule.wants(OUTCOMES["429"])


@pytest.mark.parametrize("condition", sorted(RETRY_CONDITIONS))
def test_every_condition_that_is_said_to_act_does_so(condition: str) -> None:
    rule = RetryRule(RetryPolicy(retry_on=(condition,), retriable_status_codes=(429,)))
    statuses = [Response(200, grpc_status=code) for code in range(17)]
    assert any(rule.wants(outcome) for outcome in (*OUTCOMES.values(), *statuses))


def policy(base: float = 0.025, cap: float | None = None) -> RetryPolicy:
    return RetryPolicy(retry_back_off=RetryBackOff(base_interval=base, max_interval=cap))


@pytest.mark.parametrize(
    ("retry", "longest"), [(1, 0.025), (2, 0.075), (3, 0.175), (4, 0.25), (9, 0.25)]
)
def test_the_longest_wait_doubles_up_to_ten_times_the_base(retry: int, longest: float) -> None:
    assert backoff(policy(), retry, 1.0) == pytest.approx(longest)


def test_waits_are_spread_even_where_the_cap_is_reached() -> None:
    assert [backoff(policy(), 20, luck) for luck in (0.0, 0.5)] == [0.0, 0.125]


@given(
    base=st.floats(0.001, 10),
    factor=st.floats(1, 1000),
    retry=st.integers(1, 10**6),
    luck=st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_never_longer_than_the_cap(
    base: float, factor: float, retry: int, luck: float
) -> None:
    wait = backoff(policy(base, base * factor), retry, luck)
    assert 0 <= wait <= base * factor
    assert wait <= base * (2 ** min(retry, 64) - 1)
