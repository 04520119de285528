from collections import Counter
from typing import Any

import pytest

from meshlib.dataplane.upstream.cluster import UpstreamCluster
from meshlib.dataplane.upstream.locality import zone_shares
from meshlib.model import (
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    HealthStatus,
    LeastRequest,
    Locality,
    LocalityLbEndpoints,
    LocalityWeighted,
    Random,
    ZoneAware,
)
from meshlib.testing import FakeClock, endpoint, seeded

A, B, C = (Locality(region="r", zone=zone) for zone in "abc")
NOWHERE = Locality()
CALLS = 10_000


def members(zone: Locality, number: int, sick: int = 0) -> tuple[Endpoint, ...]:
    at = ord(zone.zone)
    return tuple(
        endpoint(
            f"10.{at}.0.{n}:80",
            health_status=HealthStatus.UNHEALTHY if n < sick else HealthStatus.HEALTHY,
        )
        for n in range(number)
    )


def told(
    *zones: tuple[Locality, int | None, tuple[Endpoint, ...]], factor: int = 140, priority: int = 0
) -> ClusterLoadAssignment:
    return ClusterLoadAssignment(
        cluster_name="c",
        endpoints=tuple(
            LocalityLbEndpoints(
                locality=zone, load_balancing_weight=weight, lb_endpoints=found, priority=priority
            )
            for zone, weight, found in zones
        ),
        overprovisioning_factor=factor,
    )


def shares(made: ClusterLoadAssignment, own: Locality = NOWHERE, **fields: Any) -> dict[str, float]:
    config = Cluster(name="c", **fields)
    live = UpstreamCluster(config, FakeClock(1.0), seeded(5), locality=own)
    live.commit(live.prepare(config, made))
    found = Counter(
        chr(int(one.address.host.split(".")[1]))
        for _ in range(CALLS)
        if (one := live.pick()) is not None
    )
    return {zone: found[zone] / CALLS for zone in sorted(found)}


def near(**expected: float) -> Any:
    return pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("policy", [LeastRequest(), Random()])
def test_without_rules_localities_do_not_matter(policy: Any) -> None:
    made = told((A, 90, members(A, 1)), (B, 10, members(B, 3)))
    assert shares(made, lb_policy=policy) == near(a=0.25, b=0.75)


@pytest.mark.parametrize("policy", [LeastRequest(), Random()])
def test_localities_share_calls_by_their_weights_not_by_their_size(policy: Any) -> None:
    made = told((A, 90, members(A, 1)), (B, 10, members(B, 3)))
    assert shares(made, lb_policy=policy, locality_lb=LocalityWeighted()) == near(a=0.9, b=0.1)


@pytest.mark.parametrize(
    ("sick", "factor", "expected"),
    [
        (0, 140, {"a": 0.5, "b": 0.5}),
        (2, 140, {"a": 0.5, "b": 0.5}),
        (5, 140, {"a": 0.7 / 1.7, "b": 1 / 1.7}),
        (5, 100, {"a": 0.5 / 1.5, "b": 1 / 1.5}),
        (10, 140, {"b": 1.0}),
    ],
)
def test_a_locality_that_is_short_of_endpoints_gets_less(
    sick: int, factor: int, expected: dict[str, float]
) -> None:
    made = told((A, 1, members(A, 10, sick)), (B, 1, members(B, 10)), factor=factor)
    found = shares(made, locality_lb=LocalityWeighted(), healthy_panic_threshold=0.0)
    assert found == near(**expected)


def test_a_locality_without_weight_gets_no_calls() -> None:
    made = told((A, None, members(A, 3)), (B, 5, members(B, 1)))
    assert shares(made, locality_lb=LocalityWeighted()) == {"b": 1.0}


def test_without_any_weights_all_share_alike() -> None:
    made = told((A, None, members(A, 3)), (B, None, members(B, 1)))
    assert shares(made, locality_lb=LocalityWeighted()) == near(a=0.75, b=0.25)


def test_in_panic_weights_of_localities_do_not_count() -> None:
    made = told((A, 9, members(A, 10, 9)), (B, 1, members(B, 10, 9)))
    assert shares(made, locality_lb=LocalityWeighted()) == near(a=0.5, b=0.5)


@pytest.mark.parametrize(
    ("sizes", "own", "expected"),
    [
        ({A: 2, B: 2}, A, {A: 1.0}),
        ({A: 4, B: 2}, A, {A: 1.0}),
        ({A: 2, B: 4}, A, {A: 2 / 3, B: 1 / 3}),
        ({A: 1, B: 4, C: 5}, A, {A: 0.3, B: 0.7 * 2 / 7, C: 0.7 * 5 / 7}),
        ({A: 1, B: 1, C: 4}, A, {A: 0.5, C: 0.5}),
        ({B: 2, C: 6}, A, {B: 0, C: 1.0}),
    ],
)
def test_a_zone_keeps_as_many_calls_as_it_can_bear(
    sizes: dict[Locality, int], own: Locality, expected: dict[Locality, float]
) -> None:
    assert zone_shares(sizes, own) == pytest.approx({z: s for z, s in expected.items() if s})


@pytest.mark.parametrize("own", [A, B, C])
def test_zones_with_equal_load_fill_all_endpoints_evenly(own: Locality) -> None:
    sizes = {A: 3, B: 5, C: 7}
    arriving = dict.fromkeys(sizes, 0.0)
    for sender in sizes:
        for zone, share in zone_shares(sizes, sender).items():
            arriving[zone] += share / 3
    assert arriving == pytest.approx({zone: n / 15 for zone, n in sizes.items()})
    assert sum(zone_shares(sizes, own).values()) == pytest.approx(1)


def test_calls_stay_in_their_zone() -> None:
    made = told((A, None, members(A, 3)), (B, None, members(B, 3)))
    assert shares(made, A, locality_lb=ZoneAware()) == {"a": 1.0}
    assert shares(made, B, locality_lb=ZoneAware()) == {"b": 1.0}


@pytest.mark.parametrize(
    ("rules", "own"),
    [
        (ZoneAware(min_cluster_size=7), A),
        (ZoneAware(), NOWHERE),
        (ZoneAware(routing_enabled=0), A),
    ],
)
def test_calls_go_anywhere_where_zones_are_not_to_be_minded(
    rules: ZoneAware, own: Locality
) -> None:
    made = told((A, None, members(A, 3)), (B, None, members(B, 3)))
    assert shares(made, own, locality_lb=rules) == near(a=0.5, b=0.5)


def test_a_part_of_the_calls_minds_zones() -> None:
    made = told((A, None, members(A, 3)), (B, None, members(B, 3)))
    assert shares(made, A, locality_lb=ZoneAware(routing_enabled=50)) == near(a=0.75, b=0.25)


def test_a_small_zone_may_be_forced_to_keep_its_calls() -> None:
    made = told((A, None, members(A, 2)), (B, None, members(B, 8)))
    forced = ZoneAware(force_local_zone_min_size=2)
    assert shares(made, A, locality_lb=forced) == {"a": 1.0}
    more = ZoneAware(force_local_zone_min_size=3)
    assert shares(made, A, locality_lb=more)["a"] == pytest.approx(0.4, abs=0.02)


def test_a_panic_may_fail_calls_instead() -> None:
    made = told((A, None, members(A, 6, 5)), (B, None, members(B, 6, 5)))
    assert shares(made, A, locality_lb=ZoneAware(fail_traffic_on_panic=True)) == {}
    assert shares(made, A, locality_lb=ZoneAware()) == near(a=0.5, b=0.5)
