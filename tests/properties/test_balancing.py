"""Laws of balancing that hold for every cluster, whatever its weights, sizes and health."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshlib.dataplane.routing.hashing import xx_hash_64
from meshlib.dataplane.upstream.cluster import UpstreamCluster
from meshlib.dataplane.upstream.pickers import Candidate
from meshlib.dataplane.upstream.pickers.subsetting import subset
from meshlib.model import (
    ClientSideWeightedRoundRobin,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    HealthStatus,
    LbPolicy,
    LeastRequest,
    Locality,
    LocalityLbEndpoints,
    LocalityWeighted,
    Maglev,
    PickFirst,
    Random,
    RandomSubsetting,
    RingHash,
    RoundRobin,
    ZoneAware,
)
from meshlib.model.load import LoadReport
from meshlib.testing import FakeClock, assignment, endpoint, seeded

CALLS = 100_000
WELL = {HealthStatus.UNKNOWN, HealthStatus.HEALTHY}
TURNS = [RoundRobin(), LeastRequest(), Random()]
KEYS = [xx_hash_64(str(n)) for n in range(2000)]
seeds = st.integers(0, 2**32)
heavy = settings(max_examples=5, deadline=None)
light = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def live(
    policy: LbPolicy, made: ClusterLoadAssignment, seed: int = 1, **fields: Any
) -> UpstreamCluster:
    config = Cluster(name="c", lb_policy=policy, **fields)
    cluster = UpstreamCluster(config, FakeClock(1000.0), seeded(seed), locality=zone("a"))
    cluster.commit(cluster.prepare(config, made))
    return cluster


def zone(name: str) -> Locality:
    return Locality(region="r", zone=name)


def named(numbers: range | list[int]) -> list[str]:
    return [f"10.0.{n // 256}.{n % 256}:80" for n in numbers]


def counted(cluster: UpstreamCluster, calls: int = CALLS) -> Counter[str]:
    pick = cluster.pick
    return Counter(one.key for _ in range(calls) if (one := pick()) is not None)


def placed(cluster: UpstreamCluster) -> list[str]:
    return [one.key for key in KEYS if (one := cluster.pick((), key)) is not None]


@pytest.mark.parametrize("policy", TURNS, ids=lambda p: type(p).__name__)
@heavy
@given(weights=st.lists(st.integers(1, 20), min_size=1, max_size=8), seed=seeds)
def test_calls_go_by_weight_within_one_per_cent(
    policy: LbPolicy, weights: list[int], seed: int
) -> None:
    addresses = named(range(len(weights)))
    made = assignment(
        [endpoint(a, load_balancing_weight=w) for a, w in zip(addresses, weights, strict=True)]
    )
    counts = counted(live(policy, made, seed))
    for address, weight in zip(addresses, weights, strict=True):
        assert counts[address] / CALLS == pytest.approx(weight / sum(weights), abs=0.01)


@heavy
@given(rates=st.lists(st.integers(1, 20), min_size=2, max_size=8), seed=seeds)
def test_calls_go_by_reported_load_within_one_per_cent(rates: list[int], seed: int) -> None:
    addresses = named(range(len(rates)))
    policy = ClientSideWeightedRoundRobin(blackout_period=0.0)
    cluster = live(policy, assignment(addresses), seed)
    for address, rate in zip(addresses, rates, strict=True):
        found = cluster.balance.endpoints[address]
        cluster.observe_load(found, LoadReport(rps=rate, cpu_utilization=0.5))
    counts = counted(cluster)
    for address, rate in zip(addresses, rates, strict=True):
        assert counts[address] / CALLS == pytest.approx(rate / sum(rates), abs=0.01)


@heavy
@given(
    weights=st.lists(st.none() | st.integers(1, 20), min_size=1, max_size=5),
    sizes=st.lists(st.integers(1, 4), min_size=5, max_size=5),
    seed=seeds,
)
def test_localities_share_by_weight_within_one_per_cent(
    weights: list[int | None], sizes: list[int], seed: int
) -> None:
    made = ClusterLoadAssignment(
        cluster_name="c",
        endpoints=tuple(
            LocalityLbEndpoints(
                locality=zone(str(index)),
                load_balancing_weight=weight,
                lb_endpoints=tuple(endpoint(f"10.{index}.0.{n}:80") for n in range(size)),
            )
            for index, (weight, size) in enumerate(zip(weights, sizes, strict=False))
        ),
    )
    counts = counted(live(RoundRobin(), made, seed, locality_lb=LocalityWeighted()))
    shares = Counter[int]()
    for key, number in counts.items():
        shares[int(key.split(".")[1])] += number
    parts = [weight or 0 for weight in weights]
    if not any(parts):
        parts = sizes[: len(weights)]
    for index, part in enumerate(parts):
        assert shares[index] / CALLS == pytest.approx(part / sum(parts), abs=0.01)


def moved_and_own(policy: LbPolicy, number: int, gone: int) -> tuple[float, float]:
    """The part of the calls that go elsewhere without one endpoint, and the part it had."""
    addresses = named(range(number))
    leaver = addresses[gone % number]
    everyone = placed(live(policy, assignment(addresses)))
    rest = placed(live(policy, assignment([a for a in addresses if a != leaver])))
    moved = sum(a != b for a, b in zip(everyone, rest, strict=True))
    return moved / len(KEYS), everyone.count(leaver) / len(KEYS)


@settings(max_examples=15, deadline=None)
@given(number=st.integers(2, 40), gone=st.integers(0, 39))
def test_on_a_ring_only_the_calls_of_the_one_that_leaves_or_comes_move(
    number: int, gone: int
) -> None:
    # With one point each, so that the number of points of the others does not change.
    moved, own = moved_and_own(RingHash(minimum_ring_size=1), number, gone)
    assert moved == own


@pytest.mark.parametrize(
    ("policy", "more"),
    [(RingHash(), 0.15), (Maglev(table_size=5003), 0.05)],
    ids=["ring", "maglev"],
)
@settings(max_examples=15, deadline=None)
@given(number=st.integers(3, 40), gone=st.integers(0, 39))
def test_one_that_leaves_or_comes_moves_little_more_than_its_share(
    policy: LbPolicy, more: float, number: int, gone: int
) -> None:
    """On Envoy's ring the others get points for those that went, which moves calls as well."""
    moved, own = moved_and_own(policy, number, gone)
    assert own <= moved <= 1 / number + more


@pytest.mark.parametrize("policy", [RingHash(), Maglev(table_size=5003)], ids=["ring", "maglev"])
@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(12)))
def test_a_table_is_the_same_in_whatever_order_endpoints_are_told(
    policy: LbPolicy, order: list[int]
) -> None:
    told = placed(live(policy, assignment(named(order))))
    assert told == placed(live(policy, assignment(named(range(12)))))


statuses = st.sampled_from(list(HealthStatus))
endpoints = st.tuples(statuses, st.booleans(), st.integers(1, 3))
"""What EDS says, whether outlier detection objects, and the weight."""
ranks = st.lists(st.lists(st.lists(endpoints, max_size=4), max_size=3), min_size=1, max_size=4)
"""Priorities of localities of endpoints."""
policies = st.sampled_from(
    [
        *TURNS,
        RingHash(minimum_ring_size=16),
        Maglev(table_size=101),
        PickFirst(),
        ClientSideWeightedRoundRobin(),
        RandomSubsetting(subset_size=2),
    ]
)
rules = st.sampled_from([None, LocalityWeighted(), ZoneAware(min_cluster_size=2)])


def populated(
    policy: LbPolicy, shape: list[list[list[tuple[HealthStatus, bool, int]]]], **fields: Any
) -> UpstreamCluster:
    found: list[LocalityLbEndpoints] = []
    ejected: list[str] = []
    for priority, places in enumerate(shape):
        for index, members in enumerate(places):
            made: list[Endpoint] = []
            for n, (status, out, weight) in enumerate(members):
                address = f"10.{priority}.{index}.{n}:80"
                made.append(endpoint(address, health_status=status, load_balancing_weight=weight))
                ejected += [address] * out
            found.append(
                LocalityLbEndpoints(
                    locality=zone("abc"[index]),
                    lb_endpoints=tuple(made),
                    load_balancing_weight=index or None,
                    priority=priority,
                )
            )
    told = ClusterLoadAssignment(cluster_name="c", endpoints=tuple(found))
    cluster = live(policy, told, **fields)
    for address in ejected:
        cluster.balance.endpoints[address].ejected = True
    cluster.rebalance()
    return cluster


@light
@given(policy=policies, shape=ranks, locality_lb=rules)
def test_shares_of_priorities_make_up_the_whole(
    policy: LbPolicy, shape: list[Any], locality_lb: Any
) -> None:
    cluster = populated(policy, shape, locality_lb=locality_lb)
    lanes = cluster.balance.pickers
    assert bool(lanes) == bool(cluster.balance.endpoints)
    assert not lanes or sum(lane.share for lane in lanes) == pytest.approx(100)


@light
@given(policy=policies, shape=ranks, locality_lb=rules, keyed=st.booleans())
def test_without_panic_nobody_is_called_who_is_not_well(
    policy: LbPolicy, shape: list[Any], locality_lb: Any, keyed: bool
) -> None:
    cluster = populated(policy, shape, locality_lb=locality_lb, healthy_panic_threshold=0.0)
    able = {e for e in cluster.balance.endpoints.values() if e.usable or e.degraded}
    for key in KEYS[:30]:
        chosen = cluster.pick((), key if keyed else None)
        assert (chosen in able) if able else chosen is None


@light
@given(policy=policies, shape=ranks, locality_lb=rules, data=st.data())
def test_a_retry_goes_elsewhere_as_long_as_there_is_somewhere(
    policy: LbPolicy, shape: list[Any], locality_lb: Any, data: st.DataObject
) -> None:
    cluster = populated(policy, shape, locality_lb=locality_lb)
    tried: list[Any] = []
    for _ in cluster.balance.candidates:
        spared = data.draw(st.sampled_from([(), (0,), (0, 1)]))
        chosen = cluster.pick(tried, data.draw(st.sampled_from([None, *KEYS[:3]])), spared)
        assert chosen is not None
        assert chosen not in tried
        tried.append(chosen)
    assert not cluster.has_untried(tried)


@light
@given(policy=policies, shape=ranks, changes=st.lists(st.tuples(st.integers(0, 47), statuses)))
def test_endpoints_are_the_same_whatever_is_said_of_their_health(
    policy: LbPolicy, shape: list[Any], changes: list[tuple[int, HealthStatus]]
) -> None:
    cluster = populated(policy, shape)
    before = dict(cluster.balance.endpoints)
    told = cluster.balance.assignment
    for number, status in changes:
        changed = tuple(
            replace(
                place,
                lb_endpoints=tuple(
                    replace(one, health_status=status) if (i + j) == number % 8 else one
                    for j, one in enumerate(place.lb_endpoints)
                ),
            )
            for i, place in enumerate(told.endpoints)
        )
        told = replace(told, endpoints=changed)
        cluster.commit(cluster.prepare(cluster.balance.config, told))
        assert cluster.balance.endpoints == before
        for place in told.endpoints:
            for one in place.lb_endpoints:
                assert before[str(one.address)].config == one


@settings(max_examples=10, deadline=None)
@given(number=st.integers(10, 60), size=st.integers(2, 9), first=st.integers(0, 2**40))
def test_subsets_of_a_fleet_spread_over_all_endpoints(number: int, size: int, first: int) -> None:
    members = tuple(live(RoundRobin(), assignment(named(range(number)))).balance.candidates)
    offered = tuple(Candidate(member) for member in members)
    clients = 400
    counts = Counter(
        one.endpoint.key
        for client in range(clients)
        for one in subset(offered, size, xx_hash_64(str(first + client)))
    )
    mean = clients * size / number
    # Five standard deviations of a binomial count on either side.
    assert all(abs(counts[e.key] - mean) <= 5 * mean**0.5 for e in members)
