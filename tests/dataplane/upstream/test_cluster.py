from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from meshlib.dataplane import Cause, Failure, Response
from meshlib.dataplane.upstream.cluster import UpstreamCluster
from meshlib.model import (
    CircuitBreakers,
    Cluster,
    ClusterLoadAssignment,
    DropOverload,
    HealthCheck,
    HealthStatus,
    Random,
    RoundRobin,
    TcpHealthCheck,
    Thresholds,
)
from meshlib.testing import A, B, C, FakeClock, always, assignment, endpoint, scripted, seeded


def cluster(made: ClusterLoadAssignment, dice=seeded(1), **fields) -> UpstreamCluster:  # noqa: B008
    config = Cluster(name="reviews", **fields)
    live = UpstreamCluster(config, FakeClock(10.0), dice)
    live.commit(live.prepare(config, made))
    return live


def picked(live: UpstreamCluster, *tried: str) -> str:
    avoided = [live.balance.endpoints[address] for address in tried]
    found = live.pick(avoided)
    assert found is not None
    return found.key


def test_a_cluster_that_knows_nobody_picks_nobody() -> None:
    assert cluster(assignment()).pick() is None
    assert not cluster(assignment()).has_untried([])


def test_who_was_tried_is_not_picked_while_there_are_others() -> None:
    live = cluster(assignment([A, B, C]))
    assert {picked(live, A) for _ in range(9)} == {B, C}
    assert {picked(live, A, B) for _ in range(9)} == {C}
    assert {picked(live, A, B, C) for _ in range(9)} == {A, B, C}


def test_who_cannot_be_reached_is_not_picked_while_there_are_others() -> None:
    live = cluster(assignment([A, B]))
    live.observe(live.balance.endpoints[A], Failure(Cause.CONNECT))
    assert {picked(live) for _ in range(9)} == {B}
    live._clock.jump(0.5)  # type: ignore[attr-defined]
    assert {picked(live) for _ in range(9)} == {A, B}


def test_when_nobody_can_be_reached_the_one_who_is_due_first_is_picked() -> None:
    live = cluster(assignment([A, B]))
    for address, times in ((A, 3), (B, 1)):
        for _ in range(times):
            live.observe(live.balance.endpoints[address], Failure(Cause.CONNECT))
    assert {picked(live) for _ in range(9)} == {B}
    assert picked(live, B) == A


@pytest.mark.parametrize(("failures", "pause"), [(1, 0.5), (2, 0.8), (3, 1.28), (20, 10.0)])
def test_pauses_grow_with_every_failed_connection(failures: int, pause: float) -> None:
    live = cluster(assignment([A]))
    for _ in range(failures):
        live.observe(live.balance.endpoints[A], Failure(Cause.CONNECT))
    assert live.balance.endpoints[A].shunned_until == pytest.approx(10.0 + pause)
    live.observe(live.balance.endpoints[A], Response(503))
    assert live.balance.endpoints[A].shunned_until == 0.0


def test_only_a_failed_connection_is_held_against_an_endpoint() -> None:
    live = cluster(assignment([A]))
    for cause in set(Cause) - {Cause.CONNECT}:
        live.observe(live.balance.endpoints[A], Failure(cause))
    assert live.balance.endpoints[A].shunned_until == 0.0


def test_calls_spread_over_priorities_by_their_share() -> None:
    half = [
        endpoint(A),
        endpoint("10.0.0.9:80", health_status=HealthStatus.UNHEALTHY),
    ]
    live = cluster(assignment(half, [B]))
    counts = Counter(picked(live) for _ in range(10_000))
    assert set(counts) == {A, B}
    assert counts[A] / 10_000 == pytest.approx(0.7, abs=0.02)


def test_an_address_that_stands_twice_counts_once() -> None:
    live = cluster(assignment([A, A, B], [A]), always(0.0))
    assert Counter(picked(live) for _ in range(4)) == {A: 2, B: 2}


def test_an_endpoint_that_stays_keeps_what_was_seen_of_it() -> None:
    live = cluster(assignment([A, B]))
    config = live.balance.config
    before = dict(live.balance.endpoints)
    before[A].active = 3
    live.observe(before[A], Failure(Cause.CONNECT))
    reweighted = endpoint(B, load_balancing_weight=9)
    live.commit(live.prepare(config, assignment([A, reweighted, C])))
    after = live.balance.endpoints
    assert after[A] is before[A]
    assert after[B] is before[B]
    assert after[B].config.load_balancing_weight == 9
    live.observe(after[B], Failure(Cause.CONNECT))
    live.commit(live.prepare(config, assignment([A, B])))
    assert live.balance.endpoints[B].connect_failures == 1


def test_equal_configuration_changes_nothing() -> None:
    live = cluster(assignment([A, B]))
    assert live.prepare(live.balance.config, assignment([A, B])) is live.balance


def test_preparing_leaves_the_balance_in_use_alone() -> None:
    live = cluster(assignment([A]))
    live.prepare(live.balance.config, assignment([B]))
    assert picked(live) == A


def test_preparing_leaves_endpoints_that_stay_as_they_are() -> None:
    live = cluster(assignment([A, B]))
    sick = endpoint(A, health_status=HealthStatus.UNHEALTHY, load_balancing_weight=7)
    known = live.balance.endpoints[A]
    prepared = live.prepare(live.balance.config, assignment([sick, B]))
    assert known.usable
    assert known.config.load_balancing_weight == 1
    assert {picked(live) for _ in range(4)} == {A, B}
    live.commit(prepared)
    assert not known.usable
    assert known.config.load_balancing_weight == 7
    assert {picked(live) for _ in range(4)} == {B}


def test_an_endpoint_is_left_out_while_it_is_ejected_or_found_unhealthy() -> None:
    live = cluster(assignment([A, B, C]))
    a, b = live.balance.endpoints[A], live.balance.endpoints[B]
    a.ejected = True
    live.rebalance()
    assert {picked(live) for _ in range(9)} == {B, C}
    b.unhealthy = True
    live.rebalance()
    # One of three is below the panic threshold.
    assert {picked(live) for _ in range(9)} == {A, B, C}
    a.ejected = False
    live.rebalance()
    assert {picked(live) for _ in range(9)} == {A, C}


def test_what_was_seen_while_a_balance_was_prepared_counts_in_it() -> None:
    live = cluster(assignment([A, B, C]))
    prepared = live.prepare(live.balance.config, assignment([A, B]))
    live.balance.endpoints[A].ejected = True
    live.rebalance()
    live.commit(prepared)
    assert {picked(live) for _ in range(9)} == {B}


def test_each_category_drops_its_share_of_what_is_left() -> None:
    drops = (
        DropOverload(category="throttle", numerator=20),
        DropOverload(category="lb", numerator=500_000, denominator=1_000_000),
    )
    live = cluster(replace(assignment([A], [B]), drop_overloads=drops), seeded(3))
    found = Counter(None if (one := live.pick()) is None else one.key for _ in range(2000))
    assert found.keys() == {None, A}
    assert found[None] == pytest.approx(1200, rel=0.1)


@pytest.mark.parametrize(("luck", "drops"), [(0.0, True), (0.29, True), (0.31, False)])
def test_a_call_is_dropped_by_one_roll(luck: float, drops: bool) -> None:
    made = replace(
        assignment([A]), drop_overloads=(DropOverload(category="throttle", numerator=30),)
    )
    live = cluster(made, scripted([0.0, luck]))
    assert (live.pick() is None) is drops


def test_all_calls_may_be_dropped() -> None:
    made = replace(assignment([A]), drop_overloads=(DropOverload(category="x", numerator=100),))
    assert cluster(made, always(0.999_999)).pick() is None


def test_an_endpoint_knows_how_long_a_connection_may_take() -> None:
    live = cluster(assignment([A]), connect_timeout=2.0)
    before = live.balance.endpoints[A]
    assert before.connect_timeout == 2.0
    live.commit(live.prepare(replace(live.balance.config, connect_timeout=3.0), assignment([A])))
    assert live.balance.endpoints[A] is before
    assert before.connect_timeout == 3.0


CHECKED = HealthCheck(
    checker=TcpHealthCheck(), timeout=1, interval=1, unhealthy_threshold=1, healthy_threshold=1
)


def test_an_endpoint_that_checks_find_well_stays_until_they_find_it_gone() -> None:
    live = cluster(assignment([A, B, C]), health_checks=(CHECKED,))
    gone = live.balance.endpoints[C]
    gone.passes = True
    live.commit(live.prepare(live.balance.config, assignment([A, B])))
    assert {picked(live) for _ in range(9)} == {A, B, C}
    live.commit(live.prepare(live.balance.config, assignment([B, A])))
    assert live.balance.endpoints[C] is gone
    gone.unhealthy = True
    live.rebalance()
    assert set(live.balance.endpoints) == {A, B}
    assert {picked(live) for _ in range(9)} == {A, B}


@pytest.mark.parametrize(
    "fields", [{}, {"health_checks": (CHECKED,), "ignore_health_on_host_removal": True}]
)
def test_an_endpoint_leaves_at_once_where_health_is_not_to_keep_it(fields: Any) -> None:
    live = cluster(assignment([A, B, C]), **fields)
    live.balance.endpoints[C].passes = True
    live.commit(live.prepare(live.balance.config, assignment([A, B])))
    assert set(live.balance.endpoints) == {A, B}


@pytest.mark.parametrize("unhealthy", [True, False])
def test_an_endpoint_that_was_not_found_well_leaves_at_once(unhealthy: bool) -> None:
    live = cluster(assignment([A, B], [C]), health_checks=(CHECKED,))
    live.balance.endpoints[C].unhealthy = unhealthy
    live.rebalance()
    live.commit(live.prepare(live.balance.config, assignment([A, B])))
    assert set(live.balance.endpoints) == {A, B}


def test_an_endpoint_warms_up_from_when_it_became_usable() -> None:
    live = cluster(assignment([A, B]))
    a, b = live.balance.endpoints[A], live.balance.endpoints[B]
    assert (a.since, b.since) == (10.0, 10.0)
    clock: FakeClock = live._clock  # type: ignore[assignment]
    clock.jump(5)
    a.ejected = True
    live.rebalance()
    clock.jump(5)
    a.ejected = False
    live.rebalance()
    assert (a.since, b.since) == (20.0, 10.0)
    live.commit(live.prepare(live.balance.config, assignment([A, B, C])))
    assert live.balance.endpoints[C].since == 20.0
    assert a.since == 20.0


def test_a_priority_that_was_tried_is_spared() -> None:
    live = cluster(assignment([A], [B], [C]))
    assert [live.balance.endpoints[address].priority for address in (A, B, C)] == [0, 1, 2]
    spared = [
        one.key
        for priorities in ((), (0,), (0, 1), (0, 1, 2))
        if (one := live.pick(spared_priorities=priorities)) is not None
    ]
    assert spared == [A, B, C, A]


def test_pickers_go_on_where_nothing_changed_for_them() -> None:
    live = cluster(assignment([A, B, C], ["10.0.0.9:80"]), always(0.0))
    assert [picked(live) for _ in range(2)] == [A, B]
    changed = assignment([A, B, C], ["10.0.0.8:80"])
    live.commit(live.prepare(live.balance.config, changed))
    assert picked(live) == C


def test_limits_of_both_priorities_are_those_of_the_configuration() -> None:
    live = cluster(assignment([A]))
    limits = CircuitBreakers(default=Thresholds(max_requests=7), high=Thresholds(max_requests=9))
    live.commit(
        live.prepare(replace(live.balance.config, circuit_breakers=limits), assignment([A]))
    )
    assert (live.breaker.limits.max_requests, live.high.limits.max_requests) == (7, 9)


def test_to_pick_of_many_who_cannot_be_reached_is_not_to_roll_for_each() -> None:
    rolled = []

    def dice() -> float:
        rolled.append(0.5)
        return 0.5

    live = cluster(assignment([f"10.0.0.1:{n}" for n in range(1, 1001)]), dice, lb_policy=Random())
    for one in live.balance.endpoints.values():
        live.observe(one, Failure(Cause.CONNECT))
    rolled.clear()
    assert live.pick() is not None
    assert len(rolled) < 100


def test_a_balance_may_be_prepared_while_calls_spare_a_priority() -> None:
    class Meddling(RoundRobin):
        """To be compared takes time, in which another thread may make a call."""

        __hash__ = RoundRobin.__hash__

        def __eq__(self, other: object) -> bool:
            if calls:
                calls.pop()()
            return self is other

    calls: list = []
    live = cluster(assignment([A], [B], [C]), lb_policy=Meddling())
    calls.append(lambda: live.pick(spared_priorities=(0,)))
    live.commit(live.prepare(live.balance.config, assignment([A, C])))
    assert not calls
    assert set(live.balance.endpoints) == {A, C}
