"""When a second try is worth it: Envoy's ``retry_on`` conditions, compiled."""

from ...model import RetryPolicy
from ..message import Cause, Failure, Outcome

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

MAX_DOUBLINGS = 32
"""After which every cap is reached, and floating point not yet left."""


class RetryRule:
    """A :class:`RetryPolicy` made ready to judge outcomes."""

    __slots__ = ("_causes", "_grpc", "policy", "statuses")

    def __init__(self, policy: RetryPolicy) -> None:
        words = frozenset(policy.retry_on)
        self.policy = policy
        self._grpc = frozenset(GRPC_CONDITIONS[word] for word in words & GRPC_CONDITIONS.keys())
        self.statuses = frozenset(
            status for word in words & HTTP_CONDITIONS.keys() for status in HTTP_CONDITIONS[word]
        )
        if "retriable-status-codes" in words:
            self.statuses |= frozenset(policy.retriable_status_codes)
        self._causes = frozenset(c for c, named in FAILURE_CONDITIONS.items() if words & named)

    def wants(self, outcome: Outcome) -> bool:
        """Does the policy ask for another try after this? (Envoy router docs, x-envoy-retry-on)."""
        if isinstance(outcome, Failure):
            return outcome.cause in self._causes or outcome.grpc_status in self._grpc
        if outcome.grpc_status is not None and outcome.status == 200:
            return outcome.grpc_status in self._grpc
        return outcome.status in self.statuses


def backoff(policy: RetryPolicy, retry: int, luck: float) -> float:
    """Seconds before retry number ``retry`` (from 1): Envoy's fully jittered exponential.

    Uniform in [0, (2^N - 1) * base), or in [0, cap) where that is less.
    """
    steps = policy.retry_back_off
    doubled: int = 2 ** min(retry, MAX_DOUBLINGS) - 1
    return luck * min(doubled * steps.base_interval, steps.cap)
