"""Whatever becomes of calls, in whatever order: permits come back, budgets hold."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.dataplane import (
    AwaitTurn,
    CallEnded,
    Cause,
    Deliver,
    Effect,
    Engine,
    Event,
    Failure,
    Finish,
    Options,
    Outcome,
    Race,
    Response,
    Send,
    Sleep,
    Spawn,
    Steps,
)
from meshlib.middleware._drive import Runtime
from meshlib.model import (
    CircuitBreakers,
    HedgePolicy,
    HttpProtocolOptions,
    RequestMirrorPolicy,
    RetryBudget,
    RetryPolicy,
    RouteAction,
    Thresholds,
)
from meshlib.testing import REVIEWS, A, B, C, FakeClock, get, one_service, seeded

OUTCOMES: tuple[Outcome, ...] = (
    Response(200),
    Response(503),
    Failure(Cause.CONNECT),
    Failure(Cause.RESET),
    Failure(Cause.TIMEOUT),
    Failure(Cause.CANCELLED),
)
KINDS = {
    "plain": RouteAction(cluster="reviews"),
    "hedged on timeout": RouteAction(
        cluster="reviews", hedge_policy=HedgePolicy(hedge_on_per_try_timeout=True)
    ),
    "hedged by delay": RouteAction(
        cluster="reviews", hedge_policy=HedgePolicy(initial_requests=3, hedging_delay=0.1)
    ),
    "mirrored": RouteAction(
        cluster="reviews", request_mirror_policies=(RequestMirrorPolicy(cluster="reviews"),)
    ),
    "hedged and mirrored": RouteAction(
        cluster="reviews",
        hedge_policy=HedgePolicy(initial_requests=2),
        request_mirror_policies=(RequestMirrorPolicy(cluster="reviews"),),
    ),
}


@dataclass(slots=True)
class Going:
    steps: Steps[Outcome]
    effect: Effect
    begun: int = 0
    racing: list[int] = field(default_factory=list)


class Crowd:
    """Many calls at once on one cluster, each advanced, ended or abandoned by turns.

    Where there are ``connections``, a call takes one of them for itself.
    """

    def __init__(
        self,
        budget: RetryBudget | None,
        max_requests: int,
        seed: int,
        kind: str = "plain",
        connections: int | None = None,
    ) -> None:
        limits = Thresholds(
            max_requests=max_requests,
            max_connections=connections or 1024,
            max_pending_requests=5,
            max_retries=2,
            retry_budget=budget,
        )
        policy = RetryPolicy(retry_on=("5xx",), num_retries=3, per_try_timeout=1.0)
        action = KINDS[kind]
        snapshot = one_service(
            [A, B, C],
            action=RouteAction(
                cluster="reviews",
                retry_policy=policy,
                timeout=5.0,
                hedge_policy=action.hedge_policy,
                request_mirror_policies=action.request_mirror_policies,
            ),
            circuit_breakers=CircuitBreakers(default=limits),
            http_protocol_options=HttpProtocolOptions(http2=connections is None),
        )
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.engine = Engine(
            clock=self.clock,
            dice=seeded(seed),
            observe=self.events.append,
            options=Options(complete=True),
        )
        self.engine.apply(snapshot)
        self.runtime = Runtime(self.engine, clock=self.clock, sleep=self.clock.jump)
        self.breaker = self.engine.clusters["reviews"].breaker
        self.connections = connections
        self.going: list[Going] = []
        self.begun = 0

    def begin(self) -> None:
        self._begin(self.runtime.outbound(get(REVIEWS)))

    def _begin(self, steps: Steps[Outcome]) -> None:
        self.begun += 1
        call = Going(steps, self.runtime.step(steps, None))
        self.going.append(call)
        self._settle(call)

    def _settle(self, call: Going) -> None:
        """Do what asks for no answer, and see who races."""
        while isinstance(call.effect, Spawn):
            self._begin(call.effect.steps)
            call.effect = self.runtime.step(call.steps, None)
        if isinstance(call.effect, Race) and call.effect.send is not None:
            call.racing.append(call.begun)
            call.begun += 1

    def advance(self, number: int, outcome: Outcome, *, late: bool = False) -> None:
        """Answer what the call waits for; a delivered one ends. ``late``: its time is over."""
        call = self.going[number]
        if isinstance(call.effect, Deliver):
            self.going.pop(number)
            self.runtime.finish(call.steps, outcome)
            return
        asked = self.breaker.concurrency.active + len(self.breaker.waiting)
        retries = self.breaker.concurrency.retries
        answer = self._answer(call, outcome, late=late)
        call.effect = self.runtime.step(call.steps, answer)
        if self.breaker.concurrency.retries > retries:
            self.check_budget(asked)
        self._settle(call)

    def _answer(self, call: Going, outcome: Outcome, *, late: bool) -> object:
        match call.effect:
            case Send():
                return outcome
            case Sleep(seconds):
                self.clock.jump(seconds)
                return None
            case AwaitTurn(turn, timeout):
                if not turn.granted and timeout is not None:
                    self.clock.jump(timeout)
                return turn.granted
            case Race(timeout=timeout):
                if late and timeout is not None:
                    self.clock.jump(timeout)
                    return None
                return Finish(call.racing.pop(len(call.racing) // 2), outcome)
            case other:
                raise AssertionError(other)

    def check_budget(self, asked: int) -> None:
        """A retry was just granted, when ``asked`` calls were in flight or in line."""
        concurrency, limits = self.breaker.concurrency, self.breaker.limits
        budget = limits.retry_budget
        share = 0.0 if budget is None else budget.budget_percent / 100 * asked
        least = limits.max_retries if budget is None else budget.min_retry_concurrency
        assert concurrency.retries <= max(least, share)

    def abandon(self, number: int, how: str) -> None:
        call = self.going.pop(number)
        match how:
            case "close":
                self.runtime.close(call.steps)
            case "drop":
                self.runtime.drop(call.steps)
            case "forget":
                del call
                gc.collect(0)

    def check(self) -> None:
        concurrency = self.breaker.concurrency
        sending = sum(isinstance(call.effect, Send) for call in self.going)
        racing = sum(len(c.racing) for c in self.going if isinstance(c.effect, Race))
        granted = sum(isinstance(c.effect, AwaitTurn) and c.effect.turn.granted for c in self.going)
        assert 0 <= concurrency.retries <= concurrency.active + len(self.going)
        assert sending + racing + granted <= concurrency.active <= self.breaker.limits.max_requests
        assert concurrency.active <= self.breaker.connections
        endpoints = self.engine.clusters["reviews"].balance.endpoints.values()
        assert sum(endpoint.active for endpoint in endpoints) + granted == concurrency.active
        waiting = sum(isinstance(call.effect, AwaitTurn) for call in self.going)
        assert len(self.breaker.waiting) == waiting - granted

    def leave(self) -> None:
        while self.going:
            self.abandon(0, "close")
        self.runtime.collect()

    def counts(self) -> Iterator[int]:
        yield self.breaker.concurrency.active
        yield self.breaker.concurrency.retries
        yield len(self.breaker.waiting)
        yield self.engine.around.mirrored
        for endpoint in self.engine.clusters["reviews"].balance.endpoints.values():
            yield endpoint.active


MOVES = st.lists(
    st.one_of(
        st.just(("begin", 0, 0)),
        st.just(("begin", 0, 0)),
        st.tuples(st.just("advance"), st.integers(0, 99), st.integers(0, len(OUTCOMES) - 1)),
        st.tuples(st.just("advance"), st.integers(0, 99), st.just(1)),
        st.tuples(st.just("late"), st.integers(0, 99), st.just(4)),
        st.tuples(st.sampled_from(["close", "drop", "forget"]), st.integers(0, 99), st.just(0)),
    ),
    max_size=120,
)
BUDGETS = st.one_of(
    st.none(),
    st.builds(
        RetryBudget,
        budget_percent=st.sampled_from([0.0, 20.0, 55.5, 100.0]),
        min_retry_concurrency=st.integers(0, 3),
    ),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(
    moves=MOVES,
    budget=BUDGETS,
    limit=st.integers(1, 30),
    connections=st.none() | st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_permits_come_back_and_budgets_hold_in_any_crowd(
    kind: str,
    moves: list[tuple[str, int, int]],
    budget: RetryBudget | None,
    limit: int,
    connections: int | None,
    seed: int,
) -> None:
    crowd = Crowd(budget, limit, seed, kind, connections)
    for what, number, outcome in moves:
        if what == "begin":
            crowd.begin()
        elif crowd.going and what in ("advance", "late"):
            late = what == "late"
            crowd.advance(number % len(crowd.going), OUTCOMES[outcome], late=late)
        elif crowd.going:
            crowd.abandon(number % len(crowd.going), what)
        crowd.check()
    crowd.leave()
    assert set(crowd.counts()) == {0}
    ended = [event for event in crowd.events if isinstance(event, CallEnded)]
    assert len(ended) == crowd.begun


@pytest.mark.parametrize("at", ["send", "sleep", "deliver"])
@pytest.mark.parametrize("how", ["close", "drop", "forget"])
def test_a_call_that_is_given_up_leaves_nothing_behind(at: str, how: str) -> None:
    crowd = Crowd(None, 10, 1)
    crowd.begin()
    if at != "send":
        crowd.advance(0, Response(503 if at == "sleep" else 200))
    assert type(crowd.going[0].effect).__name__.lower() == at
    assert any(crowd.counts())
    crowd.abandon(0, how)
    crowd.runtime.collect()
    assert set(crowd.counts()) == {0}


@pytest.mark.parametrize("how", ["close", "drop", "forget"])
@pytest.mark.parametrize("granted", [True, False])
def test_who_leaves_the_line_passes_a_turn_on(how: str, granted: bool) -> None:
    crowd = Crowd(None, 10, 1, connections=1)
    for _ in range(3):
        crowd.begin()
    if granted:
        crowd.abandon(0, "close")
    assert crowd.breaker.waiting
    crowd.abandon(-2, how)
    last = crowd.going[-1].effect
    assert isinstance(last, AwaitTurn)
    assert last.turn.granted is granted
    crowd.check()
    crowd.leave()
    assert set(crowd.counts()) == {0}


def test_a_finaliser_may_run_while_the_lock_is_held() -> None:
    crowd = Crowd(None, 10, 1)
    crowd.begin()
    with crowd.runtime.lock:
        crowd.abandon(0, "drop")
    assert any(crowd.counts())
    crowd.begin()
    crowd.abandon(0, "close")
    assert set(crowd.counts()) == {0}
