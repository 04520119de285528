from collections.abc import Sequence

import pytest

from meshlib.dataplane import (
    Cause,
    EndpointEjected,
    EndpointReturned,
    EndpointSpared,
    Event,
    Failure,
    Outcome,
    Response,
    UpstreamEndpoint,
)
from meshlib.dataplane.upstream.outlier import OutlierDetector
from meshlib.dataplane.upstream.outlier_rules import status_of, success_rate_threshold
from meshlib.model import OutlierDetection
from meshlib.testing import FakeClock, always, endpoint, scripted

OK, BAD, GATEWAY = Response(200), Response(500), Response(503)
UNREACHED = Failure(Cause.CONNECT)


class Watched:
    """A cluster's endpoints and whoever watches them."""

    def __init__(self, hosts: int = 3, dice=None, **config: object) -> None:
        config = {"max_ejection_percent": 100, **config}
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.detector = OutlierDetector(
            OutlierDetection(**config),  # type: ignore[arg-type]
            self.clock,
            dice or always(0.0),
            cluster="reviews",
            observe=self.events.append,
        )
        self.hosts = [
            UpstreamEndpoint(endpoint(f"10.0.0.{n}:80"), http2=False, connect_timeout=1.0)
            for n in range(hosts)
        ]

    def hear(self, host: int, *outcomes: Outcome, times: int = 1) -> bool:
        changed = False
        for outcome in outcomes * times:
            changed |= self.detector.observe(self.hosts[host], outcome, self.hosts)
        return changed

    def at(self, moment: float) -> bool:
        """It is so late now; whoever picks next sweeps."""
        self.clock.now = moment
        return self.detector.sweep(self.hosts)

    @property
    def ejected(self) -> list[int]:
        return [number for number, host in enumerate(self.hosts) if host.ejected]

    @property
    def multiplier(self) -> int:
        return self.hosts[0].outlier.multiplier

    def eject(self, host: int = 0) -> None:
        assert self.hear(host, BAD, times=self.detector.config.consecutive_5xx)


def test_a_run_of_errors_ejects() -> None:
    watched = Watched()
    assert not watched.hear(0, BAD, times=4)
    assert watched.hear(0, BAD)
    assert watched.ejected == [0]


def test_a_success_ends_the_run() -> None:
    watched = Watched()
    watched.hear(0, *[BAD] * 4, OK, *[BAD] * 4)
    assert watched.ejected == []


def test_what_callers_give_up_neither_counts_nor_ends_a_run() -> None:
    watched = Watched()
    watched.hear(0, *[BAD] * 4, Failure(Cause.CANCELLED), Failure(Cause.LOCAL))
    assert watched.ejected == []
    watched.hear(0, BAD)
    assert watched.ejected == [0]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Response(404), 404),
        (Response(200, grpc_status=0), 200),
        (Response(200, grpc_status=14), 503),
        (Response(200, grpc_status=13), 500),
        (Response(200, grpc_status=2), 500),
        (Response(200, grpc_status=4), 504),
        (Response(200, grpc_status=12), 501),
        (Response(200, grpc_status=8), 429),
        (Failure(Cause.CONNECT, grpc_status=14), 503),
        (Failure(Cause.RESET), 503),
        (Failure(Cause.REFUSED), 503),
        (Failure(Cause.TIMEOUT), 504),
        (Failure(Cause.CANCELLED, grpc_status=1), None),
        (Failure(Cause.LOCAL), None),
        (Failure(Cause.OVERFLOW), None),
    ],
)
def test_every_outcome_counts_as_an_http_status(outcome: Outcome, status: int | None) -> None:
    assert status_of(outcome) == status


def test_only_gateway_errors_make_a_run_of_those() -> None:
    config = {"enforcing_consecutive_gateway_failure": 100, "consecutive_gateway_failure": 3}
    watched = Watched(consecutive_5xx=99, **config)
    watched.hear(0, GATEWAY, GATEWAY, BAD, GATEWAY, UNREACHED)
    assert watched.ejected == []
    watched.hear(0, Response(504))
    assert watched.ejected == [0]


def test_what_is_not_enforced_is_found_and_passed_over() -> None:
    watched = Watched(consecutive_5xx=99, consecutive_gateway_failure=1)
    watched.hear(0, GATEWAY, times=5)
    assert watched.ejected == []
    reason = "consecutive_gateway_failure"
    spared = EndpointSpared("reviews", reason, "enforcement_percentage")
    assert watched.events == [spared] * 5


def test_enforcement_may_be_a_matter_of_luck() -> None:
    dice = scripted([0.5, 0.49])
    watched = Watched(dice=dice, consecutive_5xx=2, enforcing_consecutive_5xx=50)
    watched.hear(0, BAD, BAD, BAD)
    assert watched.ejected == []
    watched.hear(0, BAD)
    assert watched.ejected == [0]


def test_failures_on_this_side_count_as_errors_of_the_endpoint() -> None:
    watched = Watched(consecutive_5xx=3)
    watched.hear(0, UNREACHED, Failure(Cause.TIMEOUT), Failure(Cause.RESET))
    assert watched.ejected == [0]


def test_in_split_mode_failures_on_this_side_are_counted_apart() -> None:
    split = {"split_external_local_origin_errors": True, "consecutive_local_origin_failure": 3}
    watched = Watched(consecutive_5xx=3, **split)
    watched.hear(0, UNREACHED, UNREACHED, BAD, UNREACHED, UNREACHED)
    assert watched.ejected == []
    watched.hear(0, UNREACHED)
    assert watched.ejected == [0]
    (event,) = watched.events
    assert isinstance(event, EndpointEjected)
    assert event.reason == "consecutive_local_origin_failure"


def test_an_answer_proves_the_way_to_an_endpoint() -> None:
    split = {"split_external_local_origin_errors": True, "consecutive_local_origin_failure": 2}
    watched = Watched(consecutive_5xx=3, **split)
    watched.hear(0, UNREACHED, BAD, UNREACHED, BAD, UNREACHED)
    assert watched.ejected == []
    watched.hear(0, BAD)
    assert watched.ejected == [0], "failures on this side do not end a run of errors either"


def test_other_statuses_may_be_the_errors() -> None:
    watched = Watched(consecutive_5xx=2, error_statuses=(429, 503))
    watched.hear(0, BAD, BAD, BAD)
    assert watched.ejected == []
    watched.hear(0, Response(429), UNREACHED)
    assert watched.ejected == [0]


@pytest.mark.parametrize(
    ("hosts", "percent", "most"), [(3, 10, 0), (3, 34, 1), (10, 10, 1), (10, 25, 2), (3, 100, 3)]
)
def test_the_share_of_the_ejected_has_a_limit(hosts: int, percent: int, most: int) -> None:
    watched = Watched(hosts, max_ejection_percent=percent)
    for host in range(hosts):
        watched.hear(host, BAD, times=5)
    assert len(watched.ejected) == most
    spared = [event.why for event in watched.events if isinstance(event, EndpointSpared)]
    assert spared == ["max_ejection_overflow"] * (hosts - most)


def test_one_may_be_ejected_whatever_the_limit_if_so_configured() -> None:
    watched = Watched(max_ejection_percent=10, always_eject_one_host=True)
    for host in range(3):
        watched.hear(host, BAD, times=5)
    assert watched.ejected == [0]


def test_a_run_that_could_not_eject_begins_again() -> None:
    watched = Watched(2, max_ejection_percent=50)
    watched.eject(0)
    watched.hear(1, BAD, times=5)
    watched.at(30.0)
    watched.hear(1, BAD, times=4)
    assert watched.ejected == []
    watched.hear(1, BAD)
    assert watched.ejected == [1]


def test_an_ejected_endpoint_comes_back_by_the_first_sweep_after_its_time() -> None:
    watched = Watched()
    watched.clock.now = 4.0
    watched.eject()
    assert not watched.at(33.0)
    assert not watched.at(39.9)
    assert watched.at(40.0)
    assert watched.ejected == []


def test_it_comes_back_even_if_nobody_called_meanwhile() -> None:
    watched = Watched()
    watched.eject()
    assert watched.at(1000.0)
    assert watched.ejected == []
    assert watched.detector.next_sweep == 1010.0


def test_an_endpoint_that_fails_again_is_ejected_for_longer() -> None:
    watched = Watched()
    watched.eject()
    watched.at(30.0)
    watched.eject()
    assert not watched.at(89.0)
    assert watched.at(90.0)


def test_ejections_have_a_longest_time() -> None:
    watched = Watched(base_ejection_time=100.0, max_ejection_time=150.0)
    watched.eject()
    watched.at(100.0)
    watched.eject()
    assert not watched.at(249.0)
    assert watched.at(250.0)


def test_a_base_above_the_longest_time_is_the_longest_time() -> None:
    watched = Watched(base_ejection_time=400.0)
    watched.eject()
    assert not watched.at(399.0)
    assert watched.at(400.0)


def test_jitter_makes_ejections_longer() -> None:
    watched = Watched(dice=always(0.5), max_ejection_time_jitter=20.0)
    watched.eject()
    assert not watched.at(30.0)
    assert watched.at(40.0)


def test_each_sweep_without_ejection_takes_one_off_the_multiplier() -> None:
    watched = Watched()
    watched.eject()
    watched.at(30.0)
    watched.eject()
    assert watched.multiplier == 2
    watched.at(90.0)
    assert watched.multiplier == 2, "it has only just come back"
    watched.at(100.0)
    assert watched.multiplier == 1
    watched.at(110.0)
    watched.at(120.0)
    assert watched.multiplier == 0


def test_runs_begin_anew_after_an_ejection() -> None:
    watched = Watched()
    watched.hear(0, BAD, times=8)
    watched.at(30.0)
    watched.hear(0, BAD, times=4)
    assert watched.ejected == []


def test_an_endpoint_that_left_is_not_ejected() -> None:
    watched = Watched()
    gone = watched.hosts.pop()
    for _ in range(5):
        assert not watched.detector.observe(gone, BAD, watched.hosts)
    assert not gone.ejected


def test_a_passed_health_check_brings_an_endpoint_back() -> None:
    watched = Watched()
    watched.eject()
    assert watched.detector.uneject(watched.hosts[0])
    assert watched.ejected == []
    assert not watched.detector.uneject(watched.hosts[0])


def test_a_passed_health_check_may_be_no_reason_to_come_back() -> None:
    watched = Watched(successful_active_health_check_uneject_host=False)
    watched.eject()
    assert not watched.detector.uneject(watched.hosts[0])
    assert watched.ejected == [0]


def served(watched: Watched, rates: Sequence[int], calls: int = 100) -> None:
    """In one interval, so many per cent of each endpoint's calls go well."""
    for host, rate in enumerate(rates):
        good = calls * rate // 100
        watched.hear(host, OK, times=good)
        for _ in range(calls - good):
            watched.hear(host, BAD)


def quiet(hosts: int = 5, **config: object) -> Watched:
    return Watched(hosts, consecutive_5xx=9999, **config)


def test_the_threshold_is_the_mean_less_the_deviation_times_the_factor() -> None:
    assert success_rate_threshold([50, 100, 100, 100, 100], 1900) == pytest.approx(52.0)


def test_who_does_worse_than_the_others_is_ejected_by_the_sweep() -> None:
    watched = quiet()
    served(watched, [100, 100, 100, 100, 50])
    assert watched.ejected == []
    assert watched.at(10.0)
    assert watched.ejected == [4]
    (event,) = watched.events
    assert event == EndpointEjected("reviews", watched.hosts[4], "success_rate", 40.0)


def test_where_all_do_badly_nobody_is_an_outlier() -> None:
    watched = quiet()
    served(watched, [20, 20, 20, 20, 20])
    assert not watched.at(10.0)


@pytest.mark.parametrize("hosts", [4, 5])
def test_success_rates_are_compared_among_enough_endpoints(hosts: int) -> None:
    watched = quiet(hosts, success_rate_stdev_factor=1000)
    served(watched, [100] * (hosts - 1) + [0])
    assert watched.at(10.0) is (hosts >= 5)


@pytest.mark.parametrize("calls", [99, 100])
def test_success_rates_are_made_of_enough_calls(calls: int) -> None:
    watched = quiet(success_rate_stdev_factor=1000)
    served(watched, [100, 100, 100, 100, 0], calls)
    assert watched.at(10.0) is (calls >= 100)


def test_each_interval_is_judged_by_itself() -> None:
    watched = quiet(success_rate_request_volume=60)
    served(watched, [100, 100, 100, 100, 50], 40)
    assert not watched.at(10.0)
    served(watched, [100, 100, 100, 100, 50], 40)
    assert not watched.at(20.0)


def test_what_was_seen_long_ago_is_judged_as_of_then() -> None:
    watched = quiet()
    served(watched, [100, 100, 100, 100, 50])
    assert not watched.at(500.0), "ejected at 10, back at 40"
    assert [type(event) for event in watched.events] == [EndpointEjected, EndpointReturned]
    assert watched.hosts[4].outlier.multiplier == 0


def test_who_fails_as_much_as_the_threshold_is_ejected_by_the_sweep() -> None:
    watched = quiet(enforcing_failure_percentage=100, enforcing_success_rate=0)
    served(watched, [15, 16, 100, 100, 100], 100)
    assert watched.at(10.0)
    assert watched.ejected == [0]


def test_in_split_mode_the_way_there_has_rates_of_its_own() -> None:
    split = {"split_external_local_origin_errors": True, "consecutive_local_origin_failure": 999}
    watched = quiet(**split)
    for host in range(5):
        watched.hear(host, OK if host else UNREACHED, times=100)
    assert watched.at(10.0)
    (event,) = watched.events
    assert isinstance(event, EndpointEjected)
    assert event.reason == "success_rate_local_origin"


def test_observing_sweeps_too_so_that_no_call_counts_for_an_interval_that_is_over() -> None:
    watched = quiet()
    served(watched, [100, 100, 100, 100, 50])
    watched.clock.now = 10.0
    assert watched.hear(0, OK)
    assert watched.ejected == [4]
    assert watched.hosts[0].outlier.external.total == 1


def test_another_interval_counts_from_the_last_sweep() -> None:
    watched = Watched()
    watched.at(10.0)
    watched.detector.reconfigure(OutlierDetection(interval=3.0))
    assert watched.detector.next_sweep == 13.0


def test_with_the_detection_gone_all_come_back() -> None:
    watched = Watched()
    watched.eject()
    assert watched.detector.retire(watched.hosts)
    assert watched.ejected == []
    assert not watched.detector.retire(watched.hosts)
