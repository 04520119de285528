"""Ring hash, Maglev and bounded load; tables are those that Envoy's own tests expect."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.clock import Dice
from meshlib.dataplane.routing.hashing import xx_hash_64
from meshlib.dataplane.upstream.cluster import UpstreamCluster
from meshlib.dataplane.upstream.pickers import Candidate, picker_for
from meshlib.dataplane.upstream.pickers.maglev import MaglevPicker
from meshlib.dataplane.upstream.pickers.ring_hash import LARGEST_RING, RingHashPicker
from meshlib.model import (
    Cluster,
    ClusterLoadAssignment,
    LbPolicy,
    Locality,
    LocalityLbEndpoints,
    LocalityWeighted,
    Maglev,
    Metadata,
    RingHash,
    Struct,
)
from meshlib.testing import FakeClock, assignment, endpoint, seeded

FULL = (1 << 64) - 1
TEN = [f"10.0.0.{n}:80" for n in range(10)]


def vectors(testdata: Path, kind: str) -> list[dict[str, Any]]:
    return json.loads((testdata / "envoy_vectors_public.json").read_text())[kind]


def cluster(
    policy: LbPolicy, made: ClusterLoadAssignment, dice: Dice | None = None, **fields: Any
) -> UpstreamCluster:
    config = Cluster(name="c", lb_policy=policy, **fields)
    live = UpstreamCluster(config, FakeClock(10.0), dice or seeded(1))
    live.commit(live.prepare(config, made))
    return live


def hosts(vector: dict[str, Any]) -> ClusterLoadAssignment:
    return assignment(
        [
            endpoint(host["url"].removeprefix("tcp://"), load_balancing_weight=host["weight"])
            for host in vector["hosts"]
        ]
    )


def port(live: UpstreamCluster, key: int) -> int:
    found = live.pick(hash_key=key)
    assert found is not None
    return found.address.port


def owners(live: UpstreamCluster, keys: int = 5000) -> list[str]:
    found = [live.pick(hash_key=xx_hash_64(str(n))) for n in range(keys)]
    return [one.key for one in found if one is not None]


@pytest.mark.parametrize("index", [0, 1])
def test_a_ring_is_that_of_envoy(testdata: Path, index: int) -> None:
    vector = vectors(testdata, "ring_hash")[index]
    function = "murmur_hash_2" if vector["murmur"] else "xx_hash"
    live = cluster(
        RingHash(minimum_ring_size=vector["min_ring"], hash_function=function), hosts(vector)
    )
    ring = live.balance.only
    assert isinstance(ring, RingHashPicker)
    ring.build()
    points = [(e.key, h) for e, h in zip(ring._owners, ring._hashes, strict=True)]
    assert len(points) == len(vector["ring"])
    for (address, point), (expected, at) in zip(points, vector["ring"], strict=True):
        assert address.endswith(expected)
        assert point == at
    first = hosts(vector).endpoints[0].lb_endpoints[0].address.port
    assert [port(live, key) - first for key, _ in vector["picks"]] == [
        host for _, host in vector["picks"]
    ]


def test_a_maglev_table_is_that_of_envoy(testdata: Path) -> None:
    (vector,) = vectors(testdata, "maglev")
    live = cluster(Maglev(table_size=vector["table_size"]), hosts(vector))
    first = hosts(vector).endpoints[0].lb_endpoints[0].address.port
    found = [port(live, key) - first for key in range(vector["table_size"])]
    assert found == vector["expected"]


@pytest.mark.parametrize(
    ("policy", "tolerance"), [(RingHash(minimum_ring_size=100_000), 0.05), (Maglev(), 0.01)]
)
def test_shares_of_a_table_go_by_weight(policy: LbPolicy, tolerance: float) -> None:
    weights = {"10.0.0.1:80": 1, "10.0.0.2:80": 2, "10.0.0.3:80": 7}
    made = assignment([endpoint(a, load_balancing_weight=w) for a, w in weights.items()])
    picker = cluster(policy, made).balance.only
    assert isinstance(picker, RingHashPicker | MaglevPicker)
    picker.build()
    if isinstance(picker, RingHashPicker):
        counts = Counter(owner.key for owner in picker._owners)
    else:
        assert picker._table is not None
        counts = Counter(picker._order[index].key for index in picker._table)
    total = counts.total()
    for address, weight in weights.items():
        assert counts[address] / total == pytest.approx(weight / 10, rel=tolerance)


@pytest.mark.parametrize("policy", [RingHash(), Maglev()])
def test_localities_share_a_table_by_their_weights(policy: LbPolicy) -> None:
    made = ClusterLoadAssignment(
        cluster_name="c",
        endpoints=tuple(
            LocalityLbEndpoints(
                locality=Locality(zone=zone),
                lb_endpoints=tuple(endpoint(address) for address in members),
                load_balancing_weight=weight,
            )
            for zone, weight, members in (
                ("a", 3, TEN[:1]),
                ("b", 1, TEN[1:5]),
                ("c", None, TEN[5:]),
            )
        ),
    )
    live = cluster(policy, made, locality_lb=LocalityWeighted())
    counts = Counter(owners(live))
    assert set(counts) == set(TEN[:5])
    assert counts[TEN[0]] / 5000 == pytest.approx(0.75, abs=0.06)


def test_the_least_weighted_gets_whole_points_and_the_ring_grows_for_it() -> None:
    made = assignment([endpoint(TEN[0], load_balancing_weight=99), endpoint(TEN[1])])
    ring = cluster(RingHash(minimum_ring_size=10), made).balance.only
    assert isinstance(ring, RingHashPicker)
    ring.build()
    assert len(ring._owners) == 100
    small = cluster(RingHash(minimum_ring_size=10, maximum_ring_size=10), made).balance.only
    assert isinstance(small, RingHashPicker)
    small.build()
    assert len(small._owners) == 10


@pytest.mark.parametrize("policy", [RingHash(), Maglev()])
def test_without_a_key_calls_go_anywhere(policy: LbPolicy) -> None:
    live = cluster(policy, assignment(TEN))
    counts = Counter(one.key for _ in range(2000) if (one := live.pick()) is not None)
    assert set(counts) == set(TEN)


@pytest.mark.parametrize("policy", [RingHash(), Maglev()])
def test_equal_keys_go_to_one_endpoint_until_it_was_tried(policy: LbPolicy) -> None:
    live = cluster(policy, assignment(TEN[:3]))
    for key in range(0, FULL, FULL // 97):
        first = live.pick(hash_key=key)
        assert first is not None
        assert live.pick(hash_key=key) is first
        second = live.pick([first], key)
        assert second is not None
        assert second is not first
        assert live.pick([first], key) is second
        third = live.pick([first, second], key)
        assert third not in {first, second}


@pytest.mark.parametrize("policy", [RingHash(), Maglev()])
def test_a_table_does_not_depend_on_the_order_in_which_endpoints_are_told(
    policy: LbPolicy,
) -> None:
    there = cluster(policy, assignment(TEN))
    back = cluster(policy, assignment(list(reversed(TEN))))
    assert owners(there) == owners(back)


@pytest.mark.parametrize("policy", [RingHash, Maglev])
def test_an_endpoint_has_its_name_on_the_ring_from_its_hash_key_or_hostname(
    policy: type[RingHash | Maglev],
) -> None:
    """Whoever takes over a name takes over its calls."""

    def named(address: str, hostname: str, hash_key: str = "") -> Any:
        keyed = Metadata((("envoy.lb", Struct((("hash_key", hash_key),))),))
        return endpoint(address, hostname=hostname, metadata=keyed if hash_key else Metadata())

    before = [named(address, f"h{n}") for n, address in enumerate(TEN[:4])]
    moved = [named(f"10.1.{n}.0:80", f"h{n}") for n in range(4)]
    one = owners(cluster(policy(use_hostname_for_hashing=True), assignment(before)))
    two = owners(cluster(policy(use_hostname_for_hashing=True), assignment(moved)))
    places = {f"10.1.{n}.0:80": TEN[n] for n in range(4)}
    assert one == [places[address] for address in two]
    keyed = [named(f"10.2.{n}.0:80", "", f"h{n}") for n in range(4)]
    three = owners(cluster(policy(), assignment(keyed)))
    places = {f"10.2.{n}.0:80": TEN[n] for n in range(4)}
    assert one == [places[address] for address in three]


@pytest.mark.parametrize("policy", [RingHash(), Maglev()])
def test_health_that_changes_elsewhere_leaves_a_table_alone(policy: LbPolicy) -> None:
    live = cluster(policy, assignment(TEN[:5], TEN[5:]))
    live.pick(hash_key=1)
    (table,) = (lane.picker for lane in live.balance.pickers)
    live.balance.endpoints[TEN[7]].unhealthy = True
    live.rebalance()
    assert live.balance.only is table
    live.balance.endpoints[TEN[0]].unhealthy = True
    live.rebalance()
    assert live.balance.only is not table


@pytest.mark.parametrize("policy", [RingHash(), Maglev()])
def test_a_table_is_made_when_it_is_needed_and_from_then_on_beforehand(policy: LbPolicy) -> None:
    live = cluster(policy, assignment(TEN))
    first = live.balance.only
    assert isinstance(first, RingHashPicker | MaglevPicker)
    assert not first.is_built
    live.pick(hash_key=7)
    assert first.is_built
    after = live.prepare(live.balance.config, assignment(TEN[1:])).only
    assert isinstance(after, RingHashPicker | MaglevPicker)
    assert after.is_built


def test_a_key_chooses_the_priority_too() -> None:
    sick = [endpoint(a) for a in TEN[:5]]
    live = cluster(RingHash(), assignment(sick, TEN[5:]))
    for address in TEN[:3]:
        live.balance.endpoints[address].unhealthy = True
    live.rebalance()
    assert {round(lane.share) for lane in live.balance.pickers} == {56, 44}
    found = owners(live)
    assert found == owners(live)
    assert sum(address in TEN[:5] for address in found) / len(found) == pytest.approx(
        0.56, abs=0.02
    )


@pytest.mark.parametrize(
    "policy", [RingHash(hash_balance_factor=120), Maglev(hash_balance_factor=120)]
)
def test_nobody_gets_much_more_than_the_mean(policy: LbPolicy) -> None:
    live = cluster(policy, assignment(TEN))
    for _ in range(200):
        chosen = live.pick(hash_key=42)
        assert chosen is not None
        chosen.active += 1
    loads = [e.active for e in live.balance.endpoints.values()]
    assert max(loads) <= 20 * 1.2 + 2
    idle = cluster(policy, assignment(TEN))
    assert idle.pick(hash_key=42) is idle.pick(hash_key=42)


def test_the_order_in_which_others_are_asked_depends_on_the_key_alone() -> None:
    def overflow(key: int) -> list[str]:
        live = cluster(RingHash(hash_balance_factor=100), assignment(TEN))
        found = []
        for _ in range(30):
            chosen = live.pick(hash_key=key)
            assert chosen is not None
            chosen.active += 1
            found.append(chosen.key)
        return found

    assert overflow(5) == overflow(5)
    assert overflow(5) != overflow(6)


def test_when_all_are_over_their_bound_the_least_loaded_is_taken() -> None:
    members = [
        Candidate(e, 0.5, e.key)
        for e in cluster(RingHash(), assignment(TEN[:2])).balance.candidates
    ]
    members[0].endpoint.active, members[1].endpoint.active = 9, 8
    # Others of the cluster are not known to this picker: 18 in flight, 9 slots each at most.
    picker = picker_for(RingHash(hash_balance_factor=10), members, FakeClock(), seeded(1))
    assert {picker.pick(key) for key in range(0, FULL, FULL // 20)} == {members[1].endpoint}


@given(
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    size=st.sampled_from([2, 7, 149, 151, 211, 1009]),
)
def test_a_table_is_filled_as_the_paper_says(weights: list[int], size: int) -> None:
    """The plain way: everyone walks its permutation to the next free place, in turn."""
    addresses = TEN[: len(weights)]
    made = [endpoint(a, load_balancing_weight=w) for a, w in zip(addresses, weights, strict=True)]
    shares = [weight / sum(weights) for weight in weights]
    heaviest, targets, steps = max(shares), [0.0] * len(weights), [0] * len(weights)
    table: dict[int, str] = {}
    rounds = 0
    while len(table) < size:
        rounds += 1
        for index, address in enumerate(addresses):
            if rounds * shares[index] < targets[index] or len(table) == size:
                continue
            targets[index] += heaviest
            offset = xx_hash_64(address) % size
            skip = xx_hash_64(address, 1) % (size - 1) + 1
            while (place := (offset + skip * steps[index]) % size) in table:
                steps[index] += 1
            table[place] = address
    live = cluster(Maglev(table_size=size), assignment(made))
    found = [live.pick(hash_key=key) for key in range(size)]
    assert [one.key for one in found if one] == [table[key] for key in range(size)]


def test_weights_that_are_far_apart_make_no_ring_of_millions() -> None:
    made = assignment(
        [
            endpoint("10.0.0.1:80", load_balancing_weight=1),
            endpoint("10.0.0.2:80", load_balancing_weight=2**32 - 1),
        ]
    )
    live = cluster(RingHash(), made)
    assert set(owners(live, 100)) == {"10.0.0.2:80"}
    picker = live.balance.pickers[0].picker
    assert isinstance(picker, RingHashPicker)
    assert len(picker._hashes) <= LARGEST_RING + 1
