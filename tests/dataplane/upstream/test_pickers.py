from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.clock import Clock, Dice
from meshlib.dataplane.upstream.endpoint import UpstreamEndpoint
from meshlib.dataplane.upstream.pickers import Candidate, Picker, picker_for
from meshlib.model import LbPolicy, LeastRequest, Random, RoundRobin
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
