import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.dataplane import Cause, Failure, Outcome, Request, Response, python_regex
from meshlib.dataplane.upstream.retry import RetryRule, backoff
from meshlib.model import (
    RETRY_CONDITIONS,
    HeaderMatcher,
    Prefix,
    RetryBackOff,
    RetryPolicy,
    SafeRegex,
)

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
    "200 by header": Response(200, (("x-try-again", "yes"),)),
    "rate limited": Response(503, (("x-envoy-ratelimited", "true"),)),
    "overloaded": Response(503, (("x-envoy-overloaded", "true"),)),
}
AGAIN = HeaderMatcher(name="x-try-again")
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
        ("retriable-headers", {"200 by header"}),
        ("envoy-ratelimited", {"rate limited"}),
        ("5xx,envoy-ratelimited", {"500", "503", "504", "rate limited"} | BROKEN),
    ],
)
def test_an_outcome_is_retried_if_a_condition_names_it(retry_on: str, wanted: set[str]) -> None:
    rule = RetryRule(
        RetryPolicy(
            retry_on=tuple(retry_on.split(",")),
            retriable_status_codes=(429,),
            retriable_headers=(AGAIN,),
        ),
        python_regex,
    )
    assert {name for name, outcome in OUTCOMES.items() if rule.wants(outcome)} == wanted


def test_codes_count_only_with_their_condition() -> None:
    rule = RetryRule(RetryPolicy(retry_on=("reset",), retriable_status_codes=(429,)))
    assert not rule.wants(OUTCOMES["429"])


@pytest.mark.parametrize("condition", sorted(RETRY_CONDITIONS))
def test_every_condition_that_is_said_to_act_does_so(condition: str) -> None:
    rule = RetryRule(
        RetryPolicy(
            retry_on=(condition,), retriable_status_codes=(429,), retriable_headers=(AGAIN,)
        ),
        python_regex,
    )
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


def test_headers_are_matched_as_those_of_routes_are() -> None:
    def wants(matcher: HeaderMatcher, answer: Response) -> bool:
        policy = RetryPolicy(retry_on=("retriable-headers",), retriable_headers=(matcher,))
        return RetryRule(policy, python_regex).wants(answer)

    odd = Response(418, (("x-why", "try again"), ("x-why", "please")))
    assert wants(HeaderMatcher(name="X-Why", match=SafeRegex("try .*,please")), odd)
    assert wants(HeaderMatcher(name=":status", match=Prefix("41")), odd)
    assert wants(HeaderMatcher(name="x-why", match=Prefix("no"), invert_match=True), odd)
    assert not wants(HeaderMatcher(name="x-missing"), odd)


def test_a_policy_may_be_for_some_requests_only() -> None:
    policy = RetryPolicy(retriable_request_headers=(HeaderMatcher(name="x-retry"),))
    assert RetryRule(RetryPolicy()).covers(Request("t", "GET", "/"))
    assert not RetryRule(policy, python_regex).covers(Request("t", "GET", "/"))
    assert RetryRule(policy, python_regex).covers(
        Request("t", "GET", "/", headers=(("x-retry", ""),))
    )


def test_patterns_need_something_to_compile_them() -> None:
    policy = RetryPolicy(
        retry_on=("retriable-headers",),
        retriable_headers=(HeaderMatcher(name="x", match=SafeRegex(".*")),),
    )
    with pytest.raises(AssertionError, match="nothing was given"):
        RetryRule(policy)
