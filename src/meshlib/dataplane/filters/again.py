"""Second tries of one call, one after the other."""

from ..events import CallRecord
from ..message import NOTHING_SENT, Failure, Outcome, Request
from ..upstream.endpoint import UpstreamEndpoint
from ..upstream.retry import RetryRule
from .attempts import Call, Surroundings
from .terms import Terms

REPICKED = "another endpoint"
RETRIED = "retry"
MOST_REPICKED = 16
"""Endpoints that one call finds dead before it gives in: when nobody can be reached, calls must not
knock at every door of a large cluster."""


class Again:
    """Made when the first attempt did not do.

    Holds one retry permit of the cluster from the first retry to the end of the call.
    """

    __slots__ = ("_call", "_priorities", "_retries", "_spared", "_tried")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._retries = 0
        self._tried: set[UpstreamEndpoint] = set()
        self._priorities: list[int] = []
        self._spared: tuple[int, ...] = ()

    @staticmethod
    def of(
        request: Request,
        record: CallRecord,
        terms: Terms,
        deadline: float | None,
        around: Surroundings,
    ) -> "Again":
        cluster = record.cluster
        assert cluster is not None
        breaker = cluster.high if terms.is_high else cluster.breaker
        return Again(Call(request, record, terms, cluster, breaker, deadline, around))

    def pick(self, hash_key: int | None) -> UpstreamEndpoint | None:
        return self._call.cluster.pick(self._tried, hash_key, self._spared)

    def wait(self, outcome: Outcome, endpoint: UpstreamEndpoint) -> float | None:
        """Seconds to wait before another attempt; ``None``: this was the last."""
        call = self._call
        nothing_sent = isinstance(outcome, Failure) and outcome.cause in NOTHING_SENT
        if nothing_sent:
            self._tried.add(endpoint)
            if len(self._tried) <= MOST_REPICKED and call.cluster.has_untried(self._tried):
                return self._told(0.0, REPICKED, outcome)
        rule = call.terms.retry
        if rule is None or not rule.wants(outcome) or not rule.covers(call.request):
            return None
        if not (nothing_sent or call.request.replayable):
            return None
        pause = self._allowed(rule, outcome)
        if pause is None:
            return None
        if not self._retries:
            call.breaker.concurrency.retries += 1
        self._retries += 1
        self._avoid(rule, endpoint)
        return self._told(pause, RETRIED, outcome)

    def _allowed(self, rule: RetryRule, outcome: Outcome) -> float | None:
        """By number, by budget, by what the server says, and by the time that is left."""
        call = self._call
        if self._retries >= rule.policy.num_retries:
            call.retries_are_exhausted()
            return None
        if not call.breaker.may_retry(again=self._retries > 0):
            call.retries_overflow()
            return None
        around = call.around
        pause = rule.pause(outcome, self._retries + 1, around.dice(), around.wall)
        if pause is None or call.ends_before(around.clock() + pause):
            return None
        return pause

    def _avoid(self, rule: RetryRule, endpoint: UpstreamEndpoint) -> None:
        """Hosts and priorities that were tried, until there are no others."""
        cluster = self._call.cluster
        self._tried.add(endpoint)
        if not (rule.policy.previous_hosts and cluster.has_untried(self._tried)):
            self._tried.clear()
        frequency = rule.policy.previous_priorities
        if not frequency:
            return
        self._priorities.append(endpoint.priority)
        if len(self._priorities) % frequency == 0:
            self._spared = tuple(dict.fromkeys(self._priorities))
            if {e.priority for e in cluster.balance.candidates} <= set(self._spared):
                self._priorities.clear()
                self._spared = ()

    def _told(self, pause: float, why: str, outcome: Outcome) -> float:
        self._call.failed(outcome, why)
        return pause

    def close(self) -> None:
        if self._retries:
            self._call.breaker.concurrency.retries -= 1
