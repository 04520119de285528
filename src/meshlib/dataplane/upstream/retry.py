"""When a second try is worth it, and how long to wait for it: Envoy's ``retry_on``, compiled."""

from copy import copy
from dataclasses import replace
from typing import NoReturn, cast

from ...clock import Clock
from ...model import HeaderMatcher, ResetHeader, RetryPolicy
from ..deadline import LONGEST
from ..message import Cause, Failure, Outcome, Request, Response, joined
from ..routing.matchers import Condition, Regex, header_condition

GRPC_CONDITIONS = {
    "cancelled": 1,
    "unknown": 2,
    "deadline-exceeded": 4,
    "resource-exhausted": 8,
    "aborted": 10,
    "internal": 13,
    "unavailable": 14,
    "data-loss": 15,
}
"""gRPC statuses by condition; ``unknown``, ``aborted`` and ``data-loss`` are meshlib's own."""

HTTP_CONDITIONS = {
    "5xx": range(500, 600),
    "gateway-error": range(502, 505),
    "retriable-4xx": range(409, 410),
}
_BROKEN = frozenset({"5xx", "gateway-error", "reset"})
FAILURE_CONDITIONS = {
    Cause.CONNECT: _BROKEN | {"connect-failure", "reset-before-request"},
    Cause.REFUSED: _BROKEN | {"refused-stream", "reset-before-request"},
    Cause.RESET: _BROKEN,
    Cause.TIMEOUT: _BROKEN,
}
NOTHING_PROCESSED = ("connect-failure", "refused-stream")
"""After which any call may be made again, whatever it does."""

RATE_LIMITED = "x-envoy-ratelimited"
OVERLOADED = "x-envoy-overloaded"
PUSHBACK = "grpc-retry-pushback-ms"
RETRY_INFO = "x-meshlib-retry-info-ms"
"""A trailer that the hooks make of ``google.rpc.RetryInfo`` in ``grpc-status-details-bin``."""

MAX_DOUBLINGS = 32
"""After which every cap is reached, and floating point not yet left."""
MOST = 2**31 - 1
"""Milliseconds that a gRPC server may ask for: more is no time to wait for anything."""
MAX_DIGITS = 15
"""Of a number in a header; what is longer is no time that anybody means."""


def _no_regex(pattern: str) -> NoReturn:
    raise AssertionError(f"nothing was given to compile {pattern!r} with")


class RetryRule:
    """A :class:`RetryPolicy` made ready to judge outcomes.

    A policy is obeyed as it stands, whatever the method: somebody wrote it for this route. What
    nobody wrote (the compiler's default, ADR 0008; retries that only :class:`Override` asks for)
    names conditions under which nothing was processed, or is for idempotent methods only.

    ``regex`` compiles patterns of header matchers; where there are none, none is needed.
    """

    __slots__ = (
        "_causes",
        "_grpc",
        "_rate_limited",
        "_request_headers",
        "_response_headers",
        "policy",
        "reads_headers",
        "statuses",
    )

    def __init__(self, policy: RetryPolicy, regex: Regex = _no_regex) -> None:
        words = frozenset(policy.retry_on)
        self.policy = policy
        self._grpc = frozenset(GRPC_CONDITIONS[word] for word in words & GRPC_CONDITIONS.keys())
        self.statuses = frozenset(
            status for word in words & HTTP_CONDITIONS.keys() for status in HTTP_CONDITIONS[word]
        )
        if "retriable-status-codes" in words:
            self.statuses |= frozenset(policy.retriable_status_codes)
        self._causes = frozenset(c for c, named in FAILURE_CONDITIONS.items() if words & named)
        self._rate_limited = "envoy-ratelimited" in words
        named = policy.retriable_headers if "retriable-headers" in words else ()
        self._response_headers = _conditions(named, regex)
        self._request_headers = _conditions(policy.retriable_request_headers, regex)
        self.reads_headers = self._rate_limited or bool(self._response_headers)

    def limited(self, retries: int) -> "RetryRule":
        """The same rule with another number of retries."""
        other = copy(self)
        other.policy = replace(self.policy, num_retries=retries)
        return other

    def covers(self, request: Request) -> bool:
        """Is the policy for requests like this (``retriable_request_headers``)?"""
        wanted = self._request_headers
        return not wanted or any(condition.test(request) for condition in wanted)

    def wants(self, outcome: Outcome) -> bool:
        """Does the policy ask for another try after this? (Envoy router docs, x-envoy-retry-on).

        A server that says it is overloaded is left alone, and one that limits rates too unless
        ``envoy-ratelimited`` is asked for. gRPC statuses count wherever they come from.
        """
        if isinstance(outcome, Failure):
            return outcome.cause in self._causes or outcome.grpc_status in self._grpc
        headers = outcome.headers
        if joined(headers, OVERLOADED) is not None:
            return False
        if joined(headers, RATE_LIMITED) is not None:
            return self._rate_limited
        if self._response_headers:
            answer = cast("Request", _Answer(outcome))
            if any(condition.test(answer) for condition in self._response_headers):
                return True
        if outcome.grpc_status is not None and outcome.status == 200:
            return outcome.grpc_status in self._grpc
        return outcome.status in self.statuses

    def pause(self, outcome: Outcome, retry: int, luck: float, wall: Clock) -> float | None:
        """Seconds before retry number ``retry`` (from 1); ``None``: the server wants none.

        What a server says wins: gRPC's pushback (gRFC A6), then the configured reset headers
        (spread over half as much again, as Envoy does). ``RetryInfo`` is a least time.
        """
        pushed = pushback(outcome)
        if pushed is not None:
            return pushed if pushed >= 0 else None
        limited = self.policy.rate_limited_retry_back_off
        if limited is not None:
            for header in limited.reset_headers:
                reset = _reset(header, outcome, wall)
                if reset is not None and reset <= limited.max_interval:
                    return reset * (1 + luck / 2)
        least = _retry_info(outcome)
        return None if least * 1000 > MOST else max(backoff(self.policy, retry, luck), least)


class _Answer:
    """A response for conditions that were made to read requests."""

    __slots__ = ("_response",)
    is_grpc = True

    def __init__(self, response: Response) -> None:
        self._response = response

    def header(self, name: str) -> str | None:
        return str(self._response.status) if name == ":status" else self._response.header(name)

    def values(self, name: str) -> tuple[str, ...]:
        found = self.header(name)
        return () if found is None else (found,)


def _conditions(matchers: tuple[HeaderMatcher, ...], regex: Regex) -> tuple[Condition, ...]:
    return tuple(header_condition(matcher, regex) for matcher in matchers)


def pushback(outcome: Outcome) -> float | None:
    """What a gRPC server says of another try: wait so many seconds, below 0 make none."""
    said = joined(outcome.trailers, PUSHBACK)
    if said is None:
        return None
    milliseconds = _number(said)
    return milliseconds / 1000 if milliseconds is not None and milliseconds <= MOST else -1.0


def _retry_info(outcome: Outcome) -> float:
    said = joined(outcome.trailers, RETRY_INFO) if outcome.trailers else None
    return (_number(said) or 0) / 1000 if said is not None else 0.0


def _reset(header: ResetHeader, outcome: Outcome, wall: Clock) -> float | None:
    """Seconds until the server wants to be called again, or ``None`` where it does not say."""
    name = header.name.lower()
    said = None if isinstance(outcome, Failure) else joined(outcome.headers, name)
    if said is None:
        said = joined(outcome.trailers, name)
    number = None if said is None else _number(said)
    if number is None or header.format == "seconds":
        return number
    left = number - wall()
    return left if left > 0 else None


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else None


def backoff(policy: RetryPolicy, retry: int, luck: float) -> float:
    """Seconds before retry number ``retry`` (from 1): Envoy's fully jittered exponential.

    Uniform in [0, (2^N - 1) * base), or in [0, cap) where that is less.
    """
    steps = policy.retry_back_off
    doubled: int = 2 ** min(retry, MAX_DOUBLINGS) - 1
    return luck * min(doubled * steps.base_interval, steps.cap, LONGEST)
