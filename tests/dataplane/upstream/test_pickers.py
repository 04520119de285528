from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.clock import Clock, Dice
from meshlib.dataplane.upstream.endpoint import UpstreamEndpoint
from meshlib.dataplane.upstream.pickers import Candidate, Picker, picker_for
from meshlib.dataplane.upstream.pickers.subsetting import subset
from meshlib.model import (
    LbPolicy,
    LeastRequest,
    PickFirst,
    Random,
    RandomSubsetting,
    RoundRobin,
    SlowStart,
)
from meshlib.testing import FakeClock, always, endpoint, scripted, seeded


def live(*weights: int) -> list[UpstreamEndpoint]:
    return [
        UpstreamEndpoint(
            endpoint(f"10.0.0.{number}:80", load_balancing_weight=weight),
            http2=False,
            connect_timeout=5.0,
        )
        for number, weight in enumerate(weights)
    ]


def picks(picker: Picker, calls: int, members: Sequence[UpstreamEndpoint]) -> list[int]:
    return [members.index(picker.pick()) for _ in range(calls)]


def candidates(members: Sequence[UpstreamEndpoint]) -> tuple[Candidate, ...]:
    return tuple(Candidate(e, e.config.load_balancing_weight, e.key) for e in members)


def picker(
    policy: LbPolicy,
    members: Sequence[UpstreamEndpoint],
    dice: Dice,
    clock: Clock | None = None,
) -> Picker:
    return picker_for(policy, candidates(members), clock or FakeClock(), dice)


@pytest.mark.parametrize(("roll", "first"), [(0.0, 0), (0.4, 1), (0.99, 2)])
def test_equal_endpoints_take_turns_from_a_random_start(roll: float, first: int) -> None:
    members = live(1, 1, 1)
    turns = picks(picker(RoundRobin(), members, always(roll)), 6, members)
    assert turns == [(first + n) % 3 for n in range(6)]


def test_weighted_turns_interleave() -> None:
    members = live(5, 1, 1)
    turns = picks(picker(RoundRobin(), members, always(0.5)), 7, members)
    assert Counter(turns) == {0: 5, 1: 1, 2: 1}
    assert turns != sorted(turns)


@settings(deadline=None)
@given(
    weights=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    seed=st.integers(0, 2**32),
    rounds=st.integers(1, 4),
)
def test_turns_are_fair_after_every_call(weights: list[int], seed: int, rounds: int) -> None:
    members = live(*weights)
    turn = picker(RoundRobin(), members, seeded(seed))
    counts: Counter[int] = Counter()
    for call in range(1, sum(weights) * rounds + 1):
        counts[members.index(turn.pick())] += 1
        for index, weight in enumerate(weights):
            # Earliest deadline first is never further off than one turn of each of the others.
            assert abs(counts[index] - call * weight / sum(weights)) < len(weights) + 1


def test_least_request_takes_the_idler_of_two() -> None:
    members = live(1, 1, 1)
    members[0].active = 3
    members[1].active = 2
    choose = picker(LeastRequest(), members, scripted([0.0, 0.4, 0.4, 0.0, 0.0, 0.0, 0.9, 0.1]))
    assert picks(choose, 4, members) == [1, 1, 0, 2]


@pytest.mark.parametrize(
    ("active", "bias", "turns"),
    [
        ((0, 0), 1.0, {0: 100, 1: 400}),
        ((0, 3), 1.0, {0: 250, 1: 250}),
        ((1, 0), 1.0, {0: 56, 1: 444}),
        ((0, 3), 0.0, {0: 100, 1: 400}),
        ((0, 3), 0.5, {0: 167, 1: 333}),
        ((0, 1), 2.0, {0: 250, 1: 250}),
    ],
)
def test_calls_in_flight_count_against_the_weight(
    active: tuple[int, int], bias: float, turns: dict[int, int]
) -> None:
    members = live(1, 4)
    for member, number in zip(members, active, strict=True):
        member.active = number
    choose = picker(LeastRequest(active_request_bias=bias), members, seeded(1))
    assert Counter(picks(choose, 500, members)) == pytest.approx(turns, abs=1)


def test_least_request_looks_at_as_many_as_it_is_told() -> None:
    members = live(1, 1, 1)
    members[0].active = members[1].active = 1
    choose = picker(LeastRequest(choice_count=3), members, scripted([0.0, 0.4, 0.9]))
    assert picks(choose, 1, members) == [2]


def test_random_goes_by_weight() -> None:
    members = live(1, 3)
    choose = picker(Random(), members, scripted([0.0, 0.2499, 0.25, 0.999]))
    assert picks(choose, 4, members) == [0, 0, 1, 1]


@pytest.mark.parametrize("policy", [RoundRobin(), LeastRequest(), Random()])
@pytest.mark.parametrize("roll", [0.0, 1 - 2**-53])
def test_a_single_endpoint_is_always_taken(policy: LbPolicy, roll: float) -> None:
    members = live(7)
    assert picks(picker(policy, members, always(roll)), 3, members) == [0, 0, 0]


def test_a_full_scan_finds_the_idlest_of_all() -> None:
    members = live(*[1] * 9)
    for member in members:
        member.active = 2
    members[3].active = members[6].active = 1
    choose = picker(LeastRequest(full_scan=True), members, scripted([0.0, 0.5, 0.99]))
    assert picks(choose, 3, members) == [3, 6, 6]


def test_pick_first_stays_where_it_is_until_that_cannot_be_reached() -> None:
    members = live(1, 1, 1)
    choose = picker(PickFirst(), members, always(0.5))
    assert picks(choose, 3, members) == [0, 0, 0]
    members[0].shunned_until = 9.0
    assert picks(choose, 2, members) == [1, 1]
    members[0].shunned_until = 0.0
    assert picks(choose, 2, members) == [1, 1]
    members[1].shunned_until = 9.0
    assert picks(choose, 2, members) == [0, 0]


def test_pick_first_goes_down_the_list_for_a_call_that_failed_elsewhere() -> None:
    members = live(1, 1, 1)
    choose = picker(PickFirst(), members, always(0.5))
    assert [members.index(choose.pick(None, attempt)) for attempt in range(4)] == [0, 1, 2, 0]
    assert picks(choose, 1, members) == [0]


def test_clients_may_each_begin_with_another_first() -> None:
    members = live(*[1] * 5)
    policy = PickFirst(shuffle_address_list=True)
    firsts = {picks(picker(policy, members, seeded(n)), 1, members)[0] for n in range(50)}
    assert firsts == {0, 1, 2, 3, 4}


SLOW = SlowStart(slow_start_window=100.0)


@pytest.mark.parametrize("policy", [RoundRobin(slow_start=SLOW), LeastRequest(slow_start=SLOW)])
@pytest.mark.parametrize(
    ("age", "share"), [(0.0, 0.1), (5.0, 0.1), (25.0, 0.25), (50.0, 0.5), (100.0, 1.0)]
)
def test_a_new_endpoint_takes_up_its_weight_little_by_little(
    policy: LbPolicy, age: float, share: float
) -> None:
    clock = FakeClock(1000.0)
    members = live(1, 1)
    members[0].since, members[1].since = 0.0, 1000.0 - age
    counts = Counter(picks(picker(policy, members, seeded(1), clock), 4000, members))
    assert counts[1] / counts[0] == pytest.approx(share, rel=0.08)


def test_the_warm_up_goes_on_while_calls_are_made_and_then_ends() -> None:
    clock = FakeClock(1000.0)
    members = live(1, 1)
    members[0].since, members[1].since = 0.0, 1000.0
    choose = picker(RoundRobin(slow_start=SLOW), members, seeded(1), clock)
    found = []
    for _ in range(4):
        found.append(Counter(picks(choose, 1000, members))[1])
        clock.jump(40)
    assert found == sorted(found)
    assert found[0] < 110
    assert found[3] == 500


def test_aggression_bends_the_curve() -> None:
    clock = FakeClock(1000.0)
    members = live(1, 1)
    members[0].since, members[1].since = 0.0, 975.0
    steep = SlowStart(slow_start_window=100.0, aggression=2.0)
    counts = Counter(
        picks(picker(RoundRobin(slow_start=steep), members, seeded(1), clock), 3000, members)
    )
    assert counts[1] / counts[0] == pytest.approx(0.5, rel=0.05)


def test_when_all_are_new_they_share_as_ever() -> None:
    clock = FakeClock(1000.0)
    members = live(1, 1, 2)
    for member in members:
        member.since = 1000.0
    choose = picker(RoundRobin(slow_start=SLOW), members, seeded(1), clock)
    assert Counter(picks(choose, 400, members)) == pytest.approx({0: 100, 1: 100, 2: 200}, abs=1)


def test_clients_keep_to_few_endpoints_of_their_own() -> None:
    members = live(*[1] * 20)
    found = [subset(candidates(members), 4, seed) for seed in range(50)]
    assert {len(one) for one in found} == {4}
    assert len(set(found)) > 40
    assert found[0] == subset(candidates(members), 4, 0)
    assert len(subset(candidates(members[:3]), 4, 0)) == 3


def test_one_that_leaves_a_subset_is_replaced_and_the_rest_stay() -> None:
    members = live(*[1] * 20)
    for seed in range(20):
        before = {one.endpoint for one in subset(candidates(members), 5, seed)}
        for gone in members:
            left = [member for member in members if member is not gone]
            after = {one.endpoint for one in subset(candidates(left), 5, seed)}
            assert len(before & after) == (4 if gone in before else 5)


def test_a_subset_is_balanced_by_the_policy_inside() -> None:
    members = live(*[1] * 20)
    policy = RandomSubsetting(subset_size=3, child_policy=LeastRequest())
    choose = picker_for(policy, candidates(members), FakeClock(), seeded(1), seed=9)
    assert len(set(picks(choose, 200, members))) == 3
