"""Hypothesis strategies for retries and hedging."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import (
    HedgePolicy,
    RateLimitedRetryBackOff,
    ResetHeader,
    RetryBackOff,
    RetryPolicy,
)

from .basics import HEADER_NAME, POSITIVE, RETRY_WORD, TENTHS_OF_PERMILLE, optional, seconds, some
from .matchers import header_matchers


@st.composite
def retry_back_offs(draw: st.DrawFn) -> RetryBackOff:
    base = draw(st.integers(1, 10**12))
    longest = draw(optional(st.integers(base, 10**13)))
    return RetryBackOff(
        base_interval=base / 1e9, max_interval=None if longest is None else longest / 1e9
    )


def retry_policies() -> SearchStrategy[RetryPolicy]:
    reset = st.builds(
        ResetHeader, name=HEADER_NAME, format=st.sampled_from(["seconds", "unix_timestamp"])
    )
    rate_limited = st.builds(
        RateLimitedRetryBackOff, reset_headers=some(reset, least=1), max_interval=POSITIVE
    )
    return st.builds(
        RetryPolicy,
        retry_on=some(RETRY_WORD),
        num_retries=st.integers(1, 2**32 - 1),
        per_try_timeout=optional(seconds()),
        per_try_idle_timeout=optional(seconds()),
        retriable_status_codes=some(st.integers(100, 599)),
        retry_back_off=retry_back_offs(),
        retriable_headers=some(header_matchers()),
        retriable_request_headers=some(header_matchers()),
        rate_limited_retry_back_off=optional(rate_limited),
        previous_hosts=st.booleans(),
        host_selection_retry_max_attempts=st.integers(1, 2**63 - 1),
        previous_priorities=optional(st.integers(1, 2**31 - 1)),
    )


def hedge_policies() -> SearchStrategy[HedgePolicy]:
    return st.builds(
        HedgePolicy,
        initial_requests=st.integers(1, 2**32 - 1),
        additional_request_chance=TENTHS_OF_PERMILLE,
        hedge_on_per_try_timeout=st.booleans(),
        hedging_delay=optional(seconds()),
    )
