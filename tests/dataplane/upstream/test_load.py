from collections import Counter

import pytest

from meshlib.dataplane.upstream.cluster import UpstreamCluster
from meshlib.dataplane.upstream.load import Load, utilization
from meshlib.dataplane.upstream.pickers import WEIGHTS
from meshlib.model import ClientSideWeightedRoundRobin, Cluster, RandomSubsetting
from meshlib.model.load import LoadReport
from meshlib.testing import FakeClock, assignment, seeded

A, B, C = (f"10.0.0.{n}:80" for n in range(3))


def weighted(clock: FakeClock, **fields: object) -> UpstreamCluster:
    config = Cluster(name="c", lb_policy=ClientSideWeightedRoundRobin(**fields))  # type: ignore[arg-type]
    live = UpstreamCluster(config, clock, seeded(1))
    live.commit(live.prepare(config, assignment([A, B, C])))
    return live


def report(live: UpstreamCluster, **by_name: tuple[float, float]) -> None:
    for name, (rps, used) in by_name.items():
        found = live.balance.endpoints[{"a": A, "b": B, "c": C}[name]]
        live.observe_load(found, LoadReport(rps=rps, cpu_utilization=used))


def turns(live: UpstreamCluster, calls: int = 1200) -> dict[str, float]:
    counts = Counter(one.key for _ in range(calls) if (one := live.pick()) is not None)
    return {name: counts[key] / calls for name, key in (("a", A), ("b", B), ("c", C))}


def alike(**expected: float) -> object:
    return pytest.approx(expected, abs=0.01)


def test_who_does_more_with_less_gets_more_calls() -> None:
    clock = FakeClock(100.0)
    live = weighted(clock)
    report(live, a=(100, 1.0), b=(100, 0.5), c=(100, 0.25))
    assert turns(live) == alike(a=1 / 3, b=1 / 3, c=1 / 3)  # too young to be trusted
    clock.jump(10)
    report(live, a=(100, 1.0), b=(100, 0.5), c=(100, 0.25))
    assert turns(live) == alike(a=1 / 7, b=2 / 7, c=4 / 7)


def test_who_says_nothing_gets_the_mean_of_the_others() -> None:
    clock = FakeClock(100.0)
    live = weighted(clock, blackout_period=0.0)
    report(live, a=(100, 1.0), b=(300, 1.0))
    assert turns(live) == alike(a=1 / 6, b=3 / 6, c=2 / 6)


def test_one_voice_alone_says_nothing() -> None:
    live = weighted(FakeClock(100.0), blackout_period=0.0)
    report(live, a=(900, 1.0))
    assert turns(live) == alike(a=1 / 3, b=1 / 3, c=1 / 3)


def test_weights_are_reckoned_anew_once_a_period_and_expire() -> None:
    clock = FakeClock(100.0)
    live = weighted(clock, blackout_period=0.0, weight_update_period=5.0)
    report(live, a=(100, 1.0), b=(100, 1.0), c=(200, 1.0))
    assert turns(live) == alike(a=0.25, b=0.25, c=0.5)
    report(live, c=(600, 1.0))
    clock.jump(4.9)
    assert turns(live) == alike(a=0.25, b=0.25, c=0.5)
    clock.jump(0.1)
    assert turns(live) == alike(a=1 / 8, b=1 / 8, c=6 / 8)
    clock.jump(180)
    assert turns(live) == alike(a=1 / 3, b=1 / 3, c=1 / 3)


def test_each_reckoning_of_weights_is_counted_over_configurations() -> None:
    clock = FakeClock(100.0)
    live = weighted(clock, blackout_period=10.0, weight_update_period=1.0)
    weighing = live.weighing
    assert weighing is not None
    live.pick()
    counts = [(weighing.fallbacks, weighing.unusable, weighing.stale)]
    report(live, a=(100, 1.0), b=(600, 1.0))
    for seconds in (1, 9, 180, 1):
        clock.jump(seconds)
        live.pick()
        live.pick()
        counts.append((weighing.fallbacks, weighing.unusable, weighing.stale))
    assert counts == [(1, 3, 0), (2, 6, 0), (2, 7, 0), (3, 8, 2), (4, 9, 4)]
    assert weighing.total == 700
    filled = {n: count for n, count in enumerate(weighing.weights) if count}
    assert filled == {0: 13, WEIGHTS.index(100): 1, WEIGHTS.index(750): 1}
    live.commit(live.prepare(live.balance.config, assignment([A, B])))
    live.pick()
    assert live.weighing is weighing
    assert sum(weighing.weights) == 17


def test_who_weighs_by_nothing_has_no_account_of_it() -> None:
    assert UpstreamCluster(Cluster(name="c"), FakeClock(), seeded(1)).weighing is None


def test_errors_count_as_load() -> None:
    load = Load()
    load.report(0.5, 100, 50, 1.0, penalty=2.0)
    assert load.weight == pytest.approx(100 / (0.5 + 0.5 * 2.0))


@pytest.mark.parametrize(("used", "rps"), [(0.0, 10.0), (0.5, 0.0)])
def test_a_report_without_calls_or_load_is_passed_over(used: float, rps: float) -> None:
    load = Load()
    load.report(used, rps, 0.0, 1.0)
    assert load.weight_at(99.0, blackout=0.0, expiration=180.0) == 0


def test_after_a_silence_trust_has_to_be_earned_again() -> None:
    load = Load()
    load.report(1.0, 10.0, 0.0, 0.0)
    assert load.weight_at(9.9, blackout=10.0, expiration=180.0) == 0
    assert load.weight_at(10.0, blackout=10.0, expiration=180.0) == 10.0
    assert load.weight_at(180.0, blackout=10.0, expiration=180.0) == 0
    load.report(1.0, 10.0, 0.0, 181.0)
    assert load.weight_at(182.0, blackout=10.0, expiration=180.0) == 0
    assert load.weight_at(191.0, blackout=10.0, expiration=180.0) == 10.0


@pytest.mark.parametrize(
    ("said", "names", "expected"),
    [
        (LoadReport(application_utilization=0.7, cpu_utilization=0.2), (), 0.7),
        (LoadReport(cpu_utilization=0.2), (), 0.2),
        (LoadReport(cpu_utilization=0.2, named={"q": 0.9}), (), 0.2),
        (LoadReport(cpu_utilization=0.2, named={"q": 0.9}), ("named_metrics.q",), 0.9),
        (LoadReport(cpu_utilization=0.2, mem_utilization=0.4), ("mem_utilization",), 0.4),
        (LoadReport(cpu_utilization=0.2), ("named_metrics.q", "nonsense"), 0.2),
        (
            LoadReport(application_utilization=0.1, named={"q": 0.9}),
            ("named_metrics.q",),
            0.1,
        ),
    ],
)
def test_an_endpoint_is_used_as_much_as_it_says_itself(
    said: LoadReport, names: tuple[str, ...], expected: float
) -> None:
    assert utilization(said, names) == expected


def test_only_who_is_weighed_by_load_is_asked_for_it() -> None:
    live = weighted(FakeClock(1.0))
    assert all(e.wants_trailers for e in live.balance.endpoints.values())
    plain = Cluster(name="c")
    live.commit(live.prepare(plain, assignment([A, B, C])))
    assert not any(e.wants_trailers for e in live.balance.endpoints.values())
    report(live, a=(1, 1.0))
    assert live.balance.endpoints[A].load is None
    inside = RandomSubsetting(subset_size=2, child_policy=ClientSideWeightedRoundRobin())
    live.commit(live.prepare(Cluster(name="c", lb_policy=inside), assignment([A, B, C])))
    assert all(e.wants_trailers for e in live.balance.endpoints.values())
    assert sum(share > 0 for share in turns(live).values()) == 2
