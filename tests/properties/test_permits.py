"""Whatever becomes of calls, in whatever order: permits come back, budgets hold."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass

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
    Options,
    Outcome,
    Response,
    Send,
    Sleep,
    Steps,
)
from meshlib.middleware._drive import Runtime
from meshlib.model import CircuitBreakers, RetryBudget, RetryPolicy, RouteAction, Thresholds
from meshlib.testing import REVIEWS, A, B, C, FakeClock, get, one_service, seeded

OUTCOMES: tuple[Outcome, ...] = (
    Response(200),
    Response(503),
    Failure(Cause.CONNECT),
    Failure(Cause.RESET),
    Failure(Cause.TIMEOUT),
    Failure(Cause.CANCELLED),
)


@dataclass(slots=True)
class Going:
    steps: Steps[Outcome]
    effect: Effect


class Crowd:
    """Many calls at once on one cluster, each advanced, ended or abandoned by turns."""

    def __init__(
        self, budget: RetryBudget | None, max_requests: int, seed: int, **more: int
    ) -> None:
        limits = Thresholds(max_requests=max_requests, max_retries=2, retry_budget=budget, **more)
        policy = RetryPolicy(retry_on=("5xx",), num_retries=3, per_try_timeout=1.0)
        snapshot = one_service(
            [A, B, C],
            action=RouteAction(cluster="reviews", retry_policy=policy, timeout=5.0),
            circuit_breakers=CircuitBreakers(default=limits),
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
        self.going: list[Going] = []
        self.begun = 0

    def begin(self) -> None:
        steps = self.runtime.outbound(get(REVIEWS))
        self.begun += 1
        self.going.append(Going(steps, self.runtime.step(steps, None)))

    def advance(self, number: int, outcome: Outcome) -> None:
        """Answer what the call waits for; a delivered one ends."""
        call = self.going[number]
        if isinstance(call.effect, Deliver):
            self.going.pop(number)
            self.runtime.finish(call.steps, outcome)
            return
        answer: object = outcome if isinstance(call.effect, Send) else None
        if isinstance(call.effect, AwaitTurn):
            answer = call.effect.turn.granted
        if isinstance(call.effect, Sleep):
            self.clock.jump(call.effect.seconds)
        retries, asked = self.breaker.concurrency.retries, self.breaker.concurrency.active
        call.effect = self.runtime.step(call.steps, answer)
        if self.breaker.concurrency.retries > retries:
            self.check_budget(asked)

    def check_budget(self, asked: int) -> None:
        """A retry was just granted, when ``asked`` calls were in flight."""
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
        sending = sum(isinstance(call.effect, Send) for call in self.going)
        concurrency = self.breaker.concurrency
        assert 0 <= concurrency.retries <= concurrency.active + len(self.going)
        assert (
            sending <= concurrency.active <= min(self.breaker.limits.max_requests, len(self.going))
        )
        turns = [call.effect.turn for call in self.going if isinstance(call.effect, AwaitTurn)]
        granted = sum(turn.granted for turn in turns)
        endpoints = self.engine.clusters["reviews"].balance.endpoints.values()
        assert sum(endpoint.active for endpoint in endpoints) + granted == concurrency.active
        self.check_line(len(turns) - granted)

    def check_line(self, waiting: int) -> None:
        """Nobody waits while there is room, and nobody is forgotten in the line."""
        limits, active = self.breaker.limits, self.breaker.concurrency.active
        assert len(self.breaker.waiting) == waiting <= limits.max_pending_requests
        assert active <= self.breaker.connections
        assert not waiting or active >= min(self.breaker.connections, limits.max_requests)

    def leave(self) -> None:
        while self.going:
            self.abandon(0, "close")
        self.runtime.collect()

    def counts(self) -> Iterator[int]:
        yield self.breaker.concurrency.active
        yield self.breaker.concurrency.retries
        for endpoint in self.engine.clusters["reviews"].balance.endpoints.values():
            yield endpoint.active


MOVES = st.lists(
    st.one_of(
        st.just(("begin", 0, 0)),
        st.just(("begin", 0, 0)),
        st.tuples(st.just("advance"), st.integers(0, 99), st.integers(0, len(OUTCOMES) - 1)),
        st.tuples(st.just("advance"), st.integers(0, 99), st.just(1)),
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


@settings(max_examples=200, deadline=None)
@given(moves=MOVES, budget=BUDGETS, limit=st.integers(1, 30), seed=st.integers(0, 999))
def test_permits_come_back_and_budgets_hold_in_any_crowd(
    moves: list[tuple[str, int, int]], budget: RetryBudget | None, limit: int, seed: int
) -> None:
    played(Crowd(budget, limit, seed), moves)


def played(crowd: Crowd, moves: list[tuple[str, int, int]]) -> None:
    for what, number, outcome in moves:
        if what == "begin":
            crowd.begin()
        elif crowd.going and what == "advance":
            crowd.advance(number % len(crowd.going), OUTCOMES[outcome])
        elif crowd.going:
            crowd.abandon(number % len(crowd.going), what)
        crowd.check()
    crowd.leave()
    assert set(crowd.counts()) == {0}
    ended = [event for event in crowd.events if isinstance(event, CallEnded)]
    assert len(ended) == crowd.begun


@settings(max_examples=200, deadline=None)
@given(
    moves=MOVES,
    connections=st.integers(1, 4),
    pending=st.integers(0, 5),
    limit=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_permits_come_back_to_those_in_line(
    moves: list[tuple[str, int, int]], connections: int, pending: int, limit: int, seed: int
) -> None:
    crowd = Crowd(None, limit, seed, max_connections=connections, max_pending_requests=pending)
    played(crowd, moves)


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


def test_a_finaliser_may_run_while_the_lock_is_held() -> None:
    crowd = Crowd(None, 10, 1)
    crowd.begin()
    with crowd.runtime.lock:
        crowd.abandon(0, "drop")
    assert any(crowd.counts())
    crowd.begin()
    crowd.abandon(0, "close")
    assert set(crowd.counts()) == {0}
