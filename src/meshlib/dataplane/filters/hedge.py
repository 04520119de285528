"""Attempts of one call beside each other: the first good answer wins (gRFC A6, Envoy's hedging)."""

from dataclasses import dataclass

from ...model import HedgePolicy, RetryPolicy
from ..message import NOTHING_SENT, Cause, Failure, Outcome
from ..steps import Deliver, Finish, Race, Send, Sleep, Steps, deliver
from ..upstream.endpoint import UpstreamEndpoint
from ..upstream.retry import RetryRule, pushback
from .again import REPICKED, RETRIED
from .attempts import GONE, Call, admitted, dressed, refusal, release

HEDGED = "hedge"
MAX_INITIAL = 5
"""What gRFC A6 takes more attempts for."""
NOT_FATAL = RetryRule(RetryPolicy(retry_on=("gateway-error", "reset", "unavailable")))
"""Answers after which other attempts go on, where no retry policy says it."""
NO_ANSWER = frozenset({Cause.CONNECT, Cause.REFUSED, Cause.RESET, Cause.TIMEOUT})


def hedged(call: Call, hash_key: int | None) -> Steps[Outcome]:
    """All attempts of a call; each has the time of the whole call, and a permit of its own."""
    record = call.record
    attempts = Hedge(call, hash_key)
    outcome: Outcome = GONE
    try:
        answer: Outcome | None = None
        if call.breaker.is_open or call.breaker.must_wait:
            clock = call.around.clock
            answer = yield from admitted(call.breaker, record, call.deadline, clock)
        send = attempts.first() if answer is None else None
        if send is None:
            outcome = yield from deliver(record, answer or attempts.last)
            return outcome
        while answer is None:
            finish = None
            if send is not None or attempts.going:
                finish = yield Race(send, attempts.patience())
            else:
                yield Sleep(attempts.patience() or 0.0)
            answer, send = attempts.after(finish)
        outcome = (yield Deliver(answer, record)) or answer
        attempts.ended(outcome)
        return outcome
    finally:
        attempts.close()


@dataclass(slots=True)
class Going:
    """An attempt under way; an extra one holds a retry permit as well."""

    endpoint: UpstreamEndpoint
    began: float
    is_extra: bool


class Hedge:
    """Which attempts are under way, and when the next is due, and why.

    Every attempt but the first takes a retry permit until it ends; one that only stands in for
    another that reached nobody takes none.
    """

    __slots__ = (
        "_begun",
        "_call",
        "_due",
        "_hash_key",
        "_initial",
        "_policy",
        "_retries",
        "_tried",
        "_why",
        "_winner",
        "going",
        "last",
    )

    def __init__(self, call: Call, hash_key: int | None) -> None:
        policy, rule = call.terms.hedge or HedgePolicy(), call.terms.retry
        chance = policy.additional_request_chance / 100
        more = chance > 0 and call.around.dice() < chance
        self._call = call
        self._policy = policy
        self._hash_key = hash_key
        self._initial = min(policy.initial_requests + more, MAX_INITIAL) - 1
        self._retries = rule.policy.num_retries if rule and rule.covers(call.request) else 0
        self._begun = 0
        self._due: float | None = None
        self._why = HEDGED
        self._tried: list[UpstreamEndpoint] = []
        self._winner: Going | None = None
        self.going: dict[int, Going] = {}
        self.last: Outcome = GONE

    def first(self) -> Send | None:
        """``None``: there is none, and ``last`` says why."""
        call, send = self._call, self._begin(is_extra=False)
        if send is None:
            self.last = refusal(call.breaker, call.cluster, call.request, call.left, call.around)
        return send

    def patience(self) -> float | None:
        """Seconds until another attempt is due; ``None``: none is."""
        return None if self._due is None else max(0.0, self._due - self._call.around.clock())

    def after(self, finish: Finish | None) -> tuple[Outcome | None, Send | None]:
        """What to deliver now, or what to begin."""
        if finish is not None and self._decides(finish):
            self._keep(finish.number)
            return finish.outcome, None
        send = None
        if self._due is not None and self._call.around.clock() >= self._due:
            send = self._another()
        if send is None and self._due is None and not self.going:
            return self.last, None
        return None, send

    def _decides(self, finish: Finish) -> bool:
        """A good answer, or one that no other attempt could make better."""
        outcome, others = finish.outcome, len(self.going) > 1
        rule = self._call.terms.retry or NOT_FATAL
        unanswered = isinstance(outcome, Failure) and outcome.cause in NO_ANSWER
        unsent = isinstance(outcome, Failure) and outcome.cause in NOTHING_SENT
        if not (rule.wants(outcome) or unsent or (unanswered and others)):
            return True
        lost = self.going.pop(finish.number)
        self._release(lost)
        self._call.cluster.observe(lost.endpoint, outcome)
        self._tell_of(lost)
        self.last = outcome
        self._plan_after(outcome, unsent=unsent)
        if self._due is not None or self.going:
            self._call.failed(outcome, self._why if self._due is not None else HEDGED)
        return False

    def _plan_after(self, outcome: Outcome, *, unsent: bool) -> None:
        """Another attempt at once, or when the server wants it, or after Envoy's wait."""
        call, rule = self._call, self._call.terms.retry
        pushed = pushback(outcome)
        pause: float | None = None
        if unsent and call.cluster.has_untried(self._tried):
            pause, self._why = 0.0, REPICKED
        elif pushed is not None and pushed < 0:
            self._initial = self._retries = 0
        elif self._initial > 0:
            pause, self._why = pushed or 0.0, HEDGED
        elif rule is not None and rule.wants(outcome) and call.request.replayable:
            pause, self._why = self._backoff(rule, outcome), RETRIED
        self._plan(pause)

    def _backoff(self, rule: RetryRule, outcome: Outcome) -> float | None:
        around, used = self._call.around, rule.policy.num_retries - self._retries
        if self._retries <= 0:
            self._call.retries_are_exhausted()
            return None
        return rule.pause(outcome, used + 1, around.dice(), around.wall)

    def _plan(self, pause: float | None) -> None:
        moment = None if pause is None else self._call.around.clock() + pause
        self._due = None if moment is None or self._call.ends_before(moment) else moment

    def _another(self) -> Send | None:
        """One more attempt, where budget and limits allow it; else those under way must do."""
        breaker, self._due = self._call.breaker, None
        is_extra = self._why != REPICKED
        if is_extra and not breaker.may_retry():
            self._call.retries_overflow()
            return None
        if breaker.is_open or breaker.must_wait:
            return None
        return self._begin(is_extra=is_extra)

    def _begin(self, *, is_extra: bool) -> Send | None:
        """There is room."""
        call, record, left = self._call, self._call.record, self._call.left
        if left is not None and left <= 0:
            return None
        endpoint = call.cluster.pick(self._tried, self._hash_key)
        if endpoint is None:
            return None
        if is_extra:
            call.breaker.concurrency.retries += 1
            self._initial -= self._why == HEDGED
            self._retries -= self._why == RETRIED
        self._tried.append(endpoint)
        attempt = Going(endpoint, call.around.clock(), is_extra)
        self._tell_of(attempt)
        if self._begun:
            call.has_another(self._why, beside=bool(self.going))
        self.going[self._begun] = attempt
        self._begun += 1
        endpoint.active += 1
        call.breaker.concurrency.active += 1
        record.attempts += 1
        self._plan_next()
        request = call.request
        if call.terms.dresses:
            request = dressed(request, record)
        return Send(request, endpoint, left)

    def _plan_next(self) -> None:
        """When the attempt that was just begun has had its time."""
        policy, per_try = self._policy, self._call.terms.per_try_timeout
        if self._initial > 0:
            self._why = HEDGED
            self._plan(policy.hedging_delay or 0.0)
        elif policy.hedge_on_per_try_timeout and per_try is not None and self._retries > 0:
            self._why = RETRIED
            self._plan(per_try)
        else:
            self._plan(None)

    def _keep(self, number: int) -> None:
        """One has won, or none; the others are cancelled with the delivery."""
        for other in [n for n in self.going if n != number]:
            self._cancel(self.going.pop(other))
        self._winner = self.going.get(number)
        if self._winner is not None:
            self._tell_of(self._winner)

    def _tell_of(self, attempt: Going) -> None:
        """Whoever hears of the call next hears of this attempt."""
        record = self._call.record
        record.endpoint, record.attempt_began = attempt.endpoint, attempt.began

    def _cancel(self, attempt: Going) -> None:
        self._release(attempt)
        self._call.cancelled(attempt.began)

    def _release(self, attempt: Going) -> None:
        self._call.breaker.concurrency.retries -= attempt.is_extra
        release(attempt.endpoint, self._call.breaker)

    def ended(self, outcome: Outcome) -> None:
        if self._winner is not None:
            self._call.cluster.observe(self._winner.endpoint, outcome)

    def close(self) -> None:
        while self.going:
            attempt = self.going.popitem()[1]
            if attempt is self._winner:
                self._release(attempt)
            else:
                self._cancel(attempt)
