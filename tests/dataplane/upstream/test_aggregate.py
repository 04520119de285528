from collections import Counter
from typing import Any

import pytest

from meshlib.dataplane import Cause, Engine, Failure, Response
from meshlib.dataplane.upstream.aggregate import AggregateCluster
from meshlib.model import (
    Aggregate,
    Cluster,
    ClusterLoadAssignment,
    DropOverload,
    HealthStatus,
    OutlierDetection,
    RingHash,
    RoundRobin,
    Snapshot,
    Static,
    gather,
)
from meshlib.testing import FakeClock, assignment, endpoint, seeded

P, Q, R, S = (f"10.0.0.{n}:80" for n in range(1, 5))


def applied(*clusters: Cluster) -> Engine:
    engine = Engine(clock=FakeClock(10.0), dice=seeded(3))
    engine.apply(snapshot(*clusters))
    return engine


def snapshot(*clusters: Cluster) -> Snapshot:
    return gather(clusters=clusters)


def static(name: str, *priorities: list[Any], **fields: Any) -> Cluster:
    return Cluster(name=name, discovery=Static(assignment(*priorities, name=name)), **fields)


def over(*names: str, name: str = "all", **fields: Any) -> Cluster:
    return Cluster(name=name, discovery=Aggregate(names), **fields)


def picked(engine: Engine, name: str = "all", calls: int = 2000, **how: Any) -> Counter[str | None]:
    found = (engine.clusters[name].pick(**how) for _ in range(calls))
    return Counter(None if one is None else one.key for one in found)


def down(address: str) -> Any:
    return endpoint(address, health_status=HealthStatus.UNHEALTHY)


def test_the_first_cluster_takes_all_calls_while_it_is_well() -> None:
    engine = applied(over("one", "two"), static("one", [P, Q]), static("two", [R]))
    assert set(picked(engine)) == {P, Q}


def test_priorities_of_the_children_stand_in_a_row() -> None:
    engine = applied(
        over("one", "two"), static("one", [down(P)], [P, Q, down(R)]), static("two", [S])
    )
    assert set(picked(engine)) == {Q, S}
    found = picked(engine)
    assert found[S] / 2000 == pytest.approx(1 - 0.5 * 1.4, abs=0.04)


def test_a_call_spills_over_to_the_next_cluster_by_lack_of_health() -> None:
    engine = applied(over("one", "two"), static("one", [P, down(Q)]), static("two", [R]))
    assert picked(engine)[R] / 2000 == pytest.approx(0.3, abs=0.04)


def test_inside_a_cluster_its_own_policy_decides() -> None:
    engine = applied(
        over("one", "two"),
        static("one", [P, Q], lb_policy=RingHash()),
        static("two", [R, S], lb_policy=RoundRobin()),
    )
    live = engine.clusters["all"]
    assert live.balance.hashes
    assert len(picked(engine, hash_key=77)) == 1


def test_the_owner_of_an_endpoint_hears_of_its_calls() -> None:
    watched = OutlierDetection(consecutive_5xx=2, max_ejection_percent=100)
    engine = applied(
        over("one", "two"),
        static("one", [P, Q], outlier_detection=watched),
        static("two", [R]),
    )
    everyone, one = engine.clusters["all"], engine.clusters["one"]
    sick = everyone.balance.endpoints[P]
    assert sick is one.balance.endpoints[P]
    for _ in range(2):
        everyone.observe(sick, Response(503))
    assert sick.ejected
    assert set(picked(engine)) == {Q, R}
    assert set(picked(engine, "one")) == {Q}
    engine.around.clock.jump(60)  # type: ignore[attr-defined]
    assert set(picked(engine)) == {P, Q}


def test_who_cannot_be_reached_is_shunned_through_an_aggregate_too() -> None:
    engine = applied(over("one"), static("one", [P, Q]))
    live = engine.clusters["all"]
    live.observe(live.balance.endpoints[P], Failure(Cause.CONNECT))
    assert set(picked(engine)) == {Q}


def test_news_of_a_child_are_news_of_the_aggregate() -> None:
    one, two = static("one", [P]), static("two", [R])
    engine = applied(over("one", "two"), one, two)
    live = engine.clusters["all"]
    before = live.balance
    engine.apply(snapshot(over("one", "two"), one, two))
    assert live.balance is before
    engine.apply(snapshot(over("one", "two"), static("one", [down(P)]), two))
    assert engine.clusters["all"] is live
    assert set(picked(engine)) == {R}


def test_calls_are_dropped_by_the_cluster_that_would_get_them() -> None:
    drop = (DropOverload(category="x", numerator=50),)
    one = Cluster(
        name="one",
        discovery=Static(
            ClusterLoadAssignment(
                cluster_name="one", endpoints=assignment([P]).endpoints, drop_overloads=drop
            )
        ),
    )
    engine = applied(over("one", "two"), one, static("two", [R]))
    assert picked(engine)[None] / 2000 == pytest.approx(0.5, abs=0.05)


def test_aggregates_of_aggregates_end_at_the_leaves() -> None:
    engine = applied(
        over("inner", "two", name="all"),
        over("one", name="inner"),
        static("one", [P]),
        static("two", [R]),
    )
    live = engine.clusters["all"]
    assert isinstance(live, AggregateCluster)
    assert set(picked(engine)) == {P}
    assert live.leaf(live.balance.endpoints[P]) is engine.clusters["one"]
    assert live.balance.endpoints[R].priority == 1


def test_a_missing_child_and_one_that_leads_back_are_left_out() -> None:
    engine = applied(
        over("gone", "back", "one", name="all"), over("all", name="back"), static("one", [P])
    )
    assert set(picked(engine)) == {P}


def test_a_spared_priority_is_that_of_the_aggregate() -> None:
    engine = applied(over("one", "two"), static("one", [P]), static("two", [R]))
    assert set(picked(engine, spared_priorities=(0,))) == {R}
    assert set(picked(engine, spared_priorities=(1,))) == {P}


def test_a_cluster_that_becomes_an_aggregate_is_another_one() -> None:
    engine = applied(static("all", [S]), static("one", [P]))
    before = engine.clusters["all"]
    engine.apply(snapshot(over("one"), static("one", [P])))
    assert engine.clusters["all"] is not before
    assert set(picked(engine)) == {P}
