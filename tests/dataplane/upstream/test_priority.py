"""Levels, overprovisioning and panic; the tables are those of Envoy's documentation."""

import pytest

from meshlib.dataplane.upstream.endpoint import UpstreamEndpoint
from meshlib.dataplane.upstream.priority import Level, Member, Rank, levels
from meshlib.model import Cluster, HealthStatus
from meshlib.testing import endpoint

Members = tuple[int, int, int]
"""How many are healthy, degraded, unhealthy."""
Spared = tuple[int, ...]


def priority(number: int, healthy: int, degraded: int, unhealthy: int) -> tuple[Member, ...]:
    states = (
        [HealthStatus.HEALTHY] * (healthy // 2)
        + [HealthStatus.UNKNOWN] * (healthy - healthy // 2)
        + [HealthStatus.DEGRADED] * degraded
        + [HealthStatus.UNHEALTHY] * (unhealthy // 2)
        + [HealthStatus.DRAINING] * (unhealthy - unhealthy // 2)
    )
    told = [endpoint(f"10.0.{number}.{n}:80", health_status=s) for n, s in enumerate(states)]
    return tuple(
        Member(UpstreamEndpoint(one, http2=False, connect_timeout=5.0), one) for one in told
    )


def spread(
    *members: Members, factor: int = 140, threshold: float | None = None, spared: Spared = ()
) -> tuple[Level, ...]:
    ranks = [
        Rank(Cluster(name="c"), priority(number, *m), factor=factor / 100)
        for number, m in enumerate(members)
    ]
    return levels(ranks, threshold, spared)


def load(found: tuple[Level, ...]) -> dict[str, float]:
    """Per cent by priority, to the nearest whole."""
    by_priority: dict[str, float] = {}
    for level in found:
        name = "P" + level.candidates[0].endpoint.key.split(".")[2]
        by_priority[name] = by_priority.get(name, 0) + level.share
    assert sum(by_priority.values()) == pytest.approx(100)
    return {name: round(share) for name, share in by_priority.items()}


def percent(healthy: int) -> Members:
    return healthy, 0, 100 - healthy


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ((100, 100), {"P0": 100}),
        ((72, 72), {"P0": 100}),
        ((71, 71), {"P0": 99, "P1": 1}),
        ((50, 50), {"P0": 70, "P1": 30}),
        ((50, 60), {"P0": 70, "P1": 30}),
        ((25, 100), {"P0": 35, "P1": 65}),
        ((25, 25), {"P0": 50, "P1": 50}),
        ((5, 65), {"P0": 7, "P1": 93}),
        ((0, 100), {"P1": 100}),
        ((72, 72, 100), {"P0": 100}),
        ((71, 71, 100), {"P0": 99, "P1": 1}),
        ((50, 50, 100), {"P0": 70, "P1": 30}),
        ((25, 25, 100), {"P0": 35, "P1": 35, "P2": 30}),
        ((25, 25, 20), {"P0": 36, "P1": 36, "P2": 29}),
    ],
)
def test_load_spills_over_to_the_next_priority(
    health: tuple[int, ...], expected: dict[str, int]
) -> None:
    # Panic sends to the same priorities, only to other endpoints of them; 0 keeps it out.
    assert load(spread(*map(percent, health), threshold=0)) == expected


@pytest.mark.parametrize(
    ("health", "panicking"),
    [
        ((72, 72), []),
        ((71, 71), []),
        ((50, 60), []),
        ((25, 100), []),
        ((5, 65), ["P0"]),
        ((25, 25), ["P0", "P1"]),
    ],
)
def test_a_priority_panics_when_all_together_are_short(
    health: tuple[int, ...], panicking: list[str]
) -> None:
    found = spread(*map(percent, health))
    sick = {
        "P" + e.endpoint.key.split(".")[2]
        for level in found
        for e in level.candidates
        if not e.usable
    }
    assert sorted(sick) == panicking


def test_degraded_endpoints_come_after_all_healthy_ones() -> None:
    # Healthy: 7 % and 70 % of what is needed; degraded ones of P0 take the rest.
    found = spread((5, 80, 15), (50, 0, 50))
    shares = [(level.candidates[0].degraded, round(level.share)) for level in found]
    assert shares == [(False, 7), (False, 70), (True, 23)]


def test_degraded_endpoints_prevent_panic() -> None:
    (healthy, degraded) = spread((30, 30, 40))
    assert (len(healthy.candidates), len(degraded.candidates)) == (30, 30)


def test_in_total_panic_load_goes_by_the_number_of_endpoints() -> None:
    found = spread((0, 0, 3), (0, 0, 1))
    assert [(len(level.candidates), level.share) for level in found] == [(3, 75.0), (1, 25.0)]


def test_without_panic_nobody_is_called_when_nobody_is_healthy() -> None:
    assert spread((0, 0, 3), threshold=0) == ()


def test_without_endpoints_there_is_nobody_to_call() -> None:
    assert spread() == ()
    assert spread((0, 0, 0)) == ()


def test_an_empty_priority_passes_everything_on() -> None:
    assert load(spread((0, 0, 0), (1, 0, 0))) == {"P1": 100}


def test_a_factor_of_one_gives_each_priority_its_healthy_share() -> None:
    assert load(spread(percent(72), percent(100), factor=100)) == {"P0": 72, "P1": 28}


def test_the_threshold_of_the_cluster_counts() -> None:
    (level,) = spread(percent(60), threshold=70)
    assert len(level.candidates) == 100
    (level,) = spread(percent(60), threshold=50)
    assert len(level.candidates) == 60


@pytest.mark.parametrize(
    ("spared", "expected"),
    [
        ((), {"P0": 100}),
        ((0,), {"P1": 100}),
        ((0, 1), {"P2": 100}),
        ((0, 1, 2), {"P0": 100}),
        ((1,), {"P0": 100}),
    ],
)
def test_a_priority_that_was_tried_is_spared_while_there_are_others(
    spared: Spared, expected: dict[str, int]
) -> None:
    assert load(spread(percent(100), percent(80), percent(90), spared=spared)) == expected


def test_load_of_a_spared_priority_spills_over_as_if_it_were_empty() -> None:
    found = spread(percent(100), percent(50), percent(100), spared=(0,))
    assert load(found) == {"P1": 70, "P2": 30}


def test_nobody_is_spared_for_a_priority_that_has_nobody() -> None:
    assert load(spread(percent(100), (0, 0, 3), threshold=0, spared=(0,))) == {"P0": 100}
