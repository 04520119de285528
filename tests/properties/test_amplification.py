"""A total outage in virtual time: what retries add to the load under a budget."""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

import pytest

from meshlib.dataplane import (
    Cause,
    Deliver,
    Effect,
    Engine,
    Failure,
    Options,
    Outcome,
    Response,
    Send,
    Sleep,
    Steps,
)
from meshlib.model import CircuitBreakers, RetryBudget, RetryPolicy, RouteAction, Thresholds
from meshlib.testing import REVIEWS, A, B, C, FakeClock, get, one_service, seeded
from meshlib.testing._decide import snapshot_of

CALLERS = 200
CALLS = 6000


@dataclass(slots=True)
class Outage:
    """Callers who call again as soon as they have failed, while nothing works."""

    after: float
    outcome: Outcome
    attempts: int = 0
    calls: int = 0

    def play(self, policy: RetryPolicy, limits: Thresholds) -> float:
        """How many attempts were made for each call."""
        clock, dice = FakeClock(), seeded(7)
        engine = Engine(clock=clock, dice=dice, options=Options(complete=True))
        action = RouteAction(cluster="reviews", retry_policy=policy)
        breakers = CircuitBreakers(default=limits)
        engine.apply(one_service([A, B, C], action=action, circuit_breakers=breakers))
        agenda: list[tuple[float, int, Callable[[], None]]] = []
        numbers = count()

        def later(seconds: float, then: Callable[[], None]) -> None:
            heappush(agenda, (clock.now + seconds, next(numbers), then))

        def begin() -> None:
            if self.calls < CALLS:
                self.calls += 1
                steps = engine.outbound(get(REVIEWS))
                go_on(steps, steps.send(None))

        def go_on(steps: Steps[Outcome], effect: Effect) -> None:
            match effect:
                case Send():
                    self.attempts += 1
                    # No two take quite the same time, so that nobody marches in step.
                    took = self.after * (0.5 + dice())
                    later(took, lambda: go_on(steps, steps.send(self.outcome)))
                case Sleep(seconds):
                    later(seconds, lambda: go_on(steps, steps.send(None)))
                case Deliver():
                    with pytest.raises(StopIteration):
                        steps.send(None)
                    later(0.0, begin)
                case other:
                    raise AssertionError(other)

        for _ in range(CALLERS):
            later(dice() * self.after, begin)
        while agenda:
            clock.now, _, then = heappop(agenda)
            then()
        assert set(vars_of(engine)) == {0}
        return self.attempts / self.calls


def vars_of(engine: Engine) -> list[int]:
    counts = engine.clusters["reviews"].breaker.concurrency
    return [counts.active, counts.retries]


POLICY = RetryPolicy(retry_on=("5xx",), num_retries=3)


def by_default() -> Thresholds:
    """What a host gets of whose limits no DestinationRule says anything."""
    service = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "reviews"},
        "spec": {
            "hosts": ["reviews.example.com"],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        },
    }
    clusters = snapshot_of([service]).clusters
    return clusters["outbound|80||reviews.example.com"].circuit_breakers.default


@pytest.mark.parametrize("after", [0.002, 0.02, 0.2, 2.0])
@pytest.mark.parametrize("outcome", [Response(503), Failure(Cause.RESET)])
def test_an_outage_is_made_worse_by_a_fifth_at_most(after: float, outcome: Outcome) -> None:
    amplification = Outage(after, outcome).play(POLICY, by_default())
    print(f"answers after {after:g} s: {amplification:.3f} attempts a call")
    assert 1.0 < amplification <= 1.2


def test_envoys_own_budget_is_a_fifth_of_all_that_is_in_flight() -> None:
    """Retries with it, so that they are a quarter of what is not a retry."""
    envoys = Thresholds(retry_budget=RetryBudget())
    amplification = Outage(2.0, Response(503)).play(POLICY, envoys)
    print(f"answers after 2 s: {amplification:.3f} attempts a call")
    assert 1.2 < amplification <= 1.25


def test_without_a_budget_every_retry_is_made() -> None:
    unlimited = Thresholds(max_retries=10**6)
    assert Outage(0.02, Response(503)).play(POLICY, unlimited) == 4.0
