from collections.abc import Sequence
from dataclasses import replace

import pytest

from meshlib.dataplane import UpstreamEndpoint
from meshlib.dataplane.upstream.health import Check, HealthChecker, Result, judged
from meshlib.model import HealthCheck, HttpHealthCheck
from meshlib.testing import FakeClock, always, endpoint

PASSED, FAILED, UNREACHED = Result.PASSED, Result.FAILED, Result.UNREACHED


def config(**fields: object) -> HealthCheck:
    usual = {
        "checker": HttpHealthCheck(path="/healthz"),
        "timeout": 1.0,
        "interval": 10.0,
        "unhealthy_threshold": 3,
        "healthy_threshold": 2,
    }
    return HealthCheck(**{**usual, **fields})  # type: ignore[arg-type]


def host(address: str = "10.0.0.1:80") -> UpstreamEndpoint:
    return UpstreamEndpoint(endpoint(address), http2=False, connect_timeout=1.0)


def check(dice: float = 0.0, **fields: object) -> Check:
    return Check(config(**fields), host(), 0.0, always(dice), waits=False)


def heard(checked: Check, results: Sequence[Result], *, traffic: bool = True) -> list[float]:
    """Each answer comes as soon as it is asked for; how long until the next question."""
    pauses = []
    for result in results:
        now = checked.due
        checked.hear(result, now, traffic=traffic)
        pauses.append(round(checked.due - now, 6))
    return pauses


@pytest.mark.parametrize(
    ("status", "result"), [(200, PASSED), (201, FAILED), (503, FAILED), (302, FAILED)]
)
def test_only_200_passes_by_default(status: int, result: Result) -> None:
    assert judged(HttpHealthCheck(path="/"), status) is result


def test_other_statuses_may_pass_or_be_asked_for_again() -> None:
    checker = HttpHealthCheck(
        path="/", expected_statuses=((200, 300), (404, 405)), retriable_statuses=((500, 600),)
    )
    assert [judged(checker, status) for status in (204, 404, 503, 301)] == [
        PASSED,
        PASSED,
        UNREACHED,
        FAILED,
    ]


@pytest.mark.parametrize("first", [PASSED, FAILED, UNREACHED])
def test_the_first_answer_decides_at_once(first: Result) -> None:
    checked = check()
    assert checked.healthy is None
    heard(checked, [first])
    assert checked.healthy is (first is PASSED)


def test_failures_must_come_in_a_row_to_count() -> None:
    checked = check()
    heard(checked, [PASSED, UNREACHED, UNREACHED, PASSED, UNREACHED, UNREACHED])
    assert checked.healthy
    heard(checked, [UNREACHED])
    assert not checked.healthy


def test_who_says_itself_that_it_is_not_well_is_believed_at_once() -> None:
    checked = check()
    heard(checked, [PASSED, FAILED])
    assert not checked.healthy


def test_coming_back_takes_some_passes_in_a_row() -> None:
    checked = check()
    heard(checked, [FAILED, PASSED, FAILED, PASSED])
    assert not checked.healthy
    heard(checked, [PASSED])
    assert checked.healthy


def test_each_state_has_an_interval_of_its_own() -> None:
    checked = check(unhealthy_interval=20.0, unhealthy_edge_interval=1.0, healthy_edge_interval=2.0)
    assert heard(checked, [PASSED, PASSED]) == [10.0, 10.0]
    assert heard(checked, [UNREACHED, UNREACHED]) == [1.0, 1.0]
    assert heard(checked, [UNREACHED, UNREACHED]) == [20.0, 20.0]
    assert heard(checked, [PASSED, PASSED]) == [2.0, 10.0]


def test_an_interval_that_is_not_set_is_that_of_the_wider_state() -> None:
    checked = check(unhealthy_interval=20.0)
    assert heard(checked, [PASSED, UNREACHED, UNREACHED, UNREACHED]) == [10.0, 20.0, 20.0, 20.0]


def test_a_cluster_that_nobody_calls_is_asked_less_often() -> None:
    checked = check(no_traffic_interval=60.0, no_traffic_healthy_interval=90.0)
    results = [FAILED, PASSED, PASSED, PASSED]
    assert heard(checked, results, traffic=False) == [60.0, 60.0, 90.0, 90.0]
    assert heard(check(), [PASSED], traffic=False) == [60.0]


def test_jitter_makes_intervals_longer() -> None:
    checked = check(0.5, initial_jitter=4.0, interval_jitter=2.0, interval_jitter_percent=10)
    assert checked.due == 2.0
    assert heard(checked, [PASSED]) == [11.5]


def test_no_interval_is_nothing_at_all() -> None:
    assert heard(check(interval=0.0), [PASSED]) == [0.001]


class Checked:
    """A cluster under checks."""

    def __init__(self, hosts: int, checks: int = 1) -> None:
        self.clock = FakeClock()
        self.hosts = [host(f"10.0.0.{n}:80") for n in range(hosts)]
        self.checker = HealthChecker([config()] * checks, self.clock, always(0.0))
        self.checks = list(self.checker.follow(self.hosts).begun)

    def hear(self, number: int, *results: Result) -> bool:
        changes = [
            self.checker.hear(self.checks[number], result, traffic=True) for result in results
        ]
        return any(changes)

    def comes(self, added: UpstreamEndpoint) -> bool:
        self.hosts.append(added)
        followed = self.checker.follow(self.hosts)
        self.checks += followed.begun
        return followed.changed

    @property
    def unhealthy(self) -> list[int]:
        return [number for number, one in enumerate(self.hosts) if one.unhealthy]


def test_endpoints_are_called_until_something_is_known_of_them() -> None:
    checked = Checked(3)
    assert checked.unhealthy == []
    assert not checked.hear(0, PASSED)
    assert checked.unhealthy == []
    assert checked.hear(1, UNREACHED)
    assert checked.unhealthy == [1]


def test_an_endpoint_that_comes_later_is_not_called_before_it_passes() -> None:
    checked = Checked(1)
    checked.hear(0, PASSED)
    assert checked.comes(host("10.0.0.9:80"))
    assert checked.unhealthy == [1]
    assert checked.hear(1, PASSED)
    assert checked.unhealthy == []


def test_an_endpoint_that_comes_later_does_not_wait_where_nobody_passes() -> None:
    checked = Checked(1)
    checked.hear(0, FAILED)
    assert not checked.comes(host("10.0.0.9:80"))
    assert checked.unhealthy == [0]
    assert checked.hear(0, PASSED, PASSED)
    assert checked.unhealthy == [1]


def test_a_whole_new_set_of_endpoints_is_called_until_one_of_them_passes() -> None:
    checked = Checked(1)
    checked.hear(0, PASSED)
    fresh = [host("10.0.1.1:80"), host("10.0.1.2:80")]
    followed = checked.checker.follow(fresh)
    assert len(followed.ended) == 1
    assert not any(one.unhealthy for one in fresh)
    checked.checker.hear(followed.begun[0], PASSED, traffic=True)
    assert [one.unhealthy for one in fresh] == [False, True]


def test_every_check_of_several_must_be_passed() -> None:
    checked = Checked(1, checks=2)
    checked.hear(0, PASSED)
    checked.hear(1, FAILED)
    assert checked.unhealthy == [0]
    checked.hear(1, PASSED, PASSED)
    assert checked.unhealthy == []


def test_an_endpoint_may_be_exempt() -> None:
    checked = Checked(2)
    checked.hear(0, PASSED)
    checked.hear(1, FAILED)
    exempt = checked.hosts[1]
    exempt.config = replace(exempt.config, disable_active_health_check=True)
    followed = checked.checker.follow(checked.hosts)
    assert followed.changed
    assert followed.ended == (checked.checks[1],)
    assert checked.unhealthy == []


def test_without_endpoints_all_are_as_good_as_they_ever_were() -> None:
    checked = Checked(2)
    checked.hear(1, FAILED)
    assert checked.checker.follow(()).changed
    assert checked.unhealthy == []


def test_an_endpoint_made_anew_keeps_what_is_known_of_its_address() -> None:
    checked = Checked(2)
    checked.hear(0, FAILED)
    again = [host("10.0.0.0:80"), checked.hosts[1]]
    followed = checked.checker.follow(again)
    assert (followed.begun, followed.ended) == ((), ())
    assert followed.changed
    assert [one.unhealthy for one in again] == [True, False]
