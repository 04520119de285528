"""Whatever endpoints answer and whenever anybody looks: the laws of outlier detection hold."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.dataplane import (
    Cause,
    EndpointEjected,
    EndpointReturned,
    Event,
    Failure,
    Outcome,
    Response,
    UpstreamEndpoint,
)
from meshlib.dataplane.upstream.outlier import OutlierDetector
from meshlib.model import OutlierDetection
from meshlib.testing import FakeClock, endpoint, seeded

OUTCOMES: tuple[Outcome, ...] = (
    Response(200),
    Response(404),
    Response(500),
    Response(503),
    Response(200, grpc_status=14),
    Failure(Cause.CONNECT),
    Failure(Cause.TIMEOUT),
    Failure(Cause.CANCELLED),
)

CONFIGS = st.builds(
    OutlierDetection,
    consecutive_5xx=st.integers(1, 5),
    interval=st.sampled_from([0.1, 1.0, 7.0]),
    base_ejection_time=st.sampled_from([0.5, 3.0, 10.0]),
    max_ejection_time=st.sampled_from([5.0, 20.0]),
    max_ejection_percent=st.integers(0, 100),
    enforcing_consecutive_5xx=st.sampled_from([0, 50, 100]),
    consecutive_gateway_failure=st.integers(1, 5),
    enforcing_consecutive_gateway_failure=st.sampled_from([0, 100]),
    split_external_local_origin_errors=st.booleans(),
    consecutive_local_origin_failure=st.integers(1, 5),
    success_rate_minimum_hosts=st.integers(1, 4),
    success_rate_request_volume=st.integers(1, 10),
    success_rate_stdev_factor=st.sampled_from([500, 1900]),
    failure_percentage_threshold=st.integers(1, 100),
    enforcing_failure_percentage=st.sampled_from([0, 100]),
    enforcing_failure_percentage_local_origin=st.sampled_from([0, 100]),
    failure_percentage_minimum_hosts=st.integers(1, 4),
    failure_percentage_request_volume=st.integers(1, 10),
    max_ejection_time_jitter=st.sampled_from([0.0, 2.0]),
    always_eject_one_host=st.booleans(),
)

MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("hear"), st.integers(0, 9), st.integers(0, len(OUTCOMES) - 1)),
        st.tuples(st.just("hear"), st.integers(0, 2), st.just(3)),
        st.tuples(st.just("pass"), st.integers(1, 200), st.just(0)),
        st.tuples(st.just("sweep"), st.just(0), st.just(0)),
        st.tuples(st.just("pass a check"), st.integers(0, 9), st.just(0)),
    ),
    max_size=150,
)


class World:
    def __init__(self, config: OutlierDetection, hosts: int, seed: int = 1) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.detector = OutlierDetector(
            config, self.clock, seeded(seed), observe=self.events.append
        )
        self.hosts = [
            UpstreamEndpoint(endpoint(f"10.0.0.{n}:80"), http2=False, connect_timeout=1.0)
            for n in range(hosts)
        ]

    def move(self, what: str, number: int, outcome: int) -> None:
        before = self.ejected
        host = self.hosts[number % len(self.hosts)]
        match what:
            case "hear":
                changed = self.detector.observe(host, OUTCOMES[outcome], self.hosts)
            case "pass":
                self.clock.jump(number / 4)
                return
            case "sweep":
                changed = self.detector.sweep(self.hosts)
            case _:
                changed = self.detector.uneject(host)
        assert changed or self.ejected == before, "a change is always told"

    @property
    def ejected(self) -> set[str]:
        return {host.key for host in self.hosts if host.ejected}

    def check_share(self) -> None:
        config = self.detector.config
        most = config.max_ejection_percent * len(self.hosts) / 100
        if config.always_eject_one_host:
            most = max(most, 1)
        assert len(self.ejected) <= most


@settings(max_examples=300, deadline=None)
@given(config=CONFIGS, hosts=st.integers(1, 10), moves=MOVES, seed=st.integers(0, 99))
def test_no_more_are_ejected_than_may_be_and_all_come_back(
    config: OutlierDetection, hosts: int, moves: list[tuple[str, int, int]], seed: int
) -> None:
    world = World(config, hosts, seed)
    for move in moves:
        world.move(*move)
        world.check_share()
        events = [type(event) for event in world.events]
        gone, back = events.count(EndpointEjected), events.count(EndpointReturned)
        assert gone - back == len(world.ejected), "facts tell the same story"
    world.clock.jump(config.max_ejection_time + config.base_ejection_time + 2.0)
    world.clock.jump(2 * config.interval)
    world.detector.sweep(world.hosts)
    assert world.ejected == set()


@settings(max_examples=200, deadline=None)
@given(config=CONFIGS, moves=MOVES)
def test_a_second_sweep_at_the_same_moment_does_nothing(
    config: OutlierDetection, moves: list[tuple[str, int, int]]
) -> None:
    world = World(config, 5)
    for move in moves:
        world.move(*move)
    world.detector.sweep(world.hosts)
    told = len(world.events)
    states = [remembered(host) for host in world.hosts]
    assert not world.detector.sweep(world.hosts)
    assert len(world.events) == told
    assert [remembered(host) for host in world.hosts] == states


@settings(max_examples=200, deadline=None)
@given(config=CONFIGS, moves=MOVES, late=st.integers(1, 300))
def test_one_late_sweep_does_what_all_the_missed_ones_would_have_done(
    config: OutlierDetection, moves: list[tuple[str, int, int]], late: int
) -> None:
    config = replace(config, enforcing_consecutive_5xx=100, max_ejection_time_jitter=0.0)
    worlds = [World(config, 5), World(config, 5)]
    for world in worlds:
        for move in moves:
            world.move(*move)
    often, once = worlds
    for _ in range(late):
        often.clock.now = max(often.clock.now, often.detector.next_sweep)
        often.detector.sweep(often.hosts)
    once.clock.now = often.clock.now
    once.detector.sweep(once.hosts)
    assert [remembered(host) for host in once.hosts] == [remembered(h) for h in often.hosts]
    assert once.detector.next_sweep - often.detector.next_sweep < 1e-6


def remembered(host: UpstreamEndpoint) -> tuple[object, ...]:
    suspect = host.outlier
    if suspect is None:
        return (host.ejected,)
    return (
        host.ejected,
        suspect.multiplier,
        suspect.consecutive_5xx,
        suspect.external.total,
        suspect.local.total,
    )


@settings(max_examples=100, deadline=None)
@given(times=st.integers(1, 30), rest=st.integers(0, 40))
def test_each_ejection_adds_a_base_and_each_quiet_sweep_takes_one_off(
    times: int, rest: int
) -> None:
    config = OutlierDetection(
        consecutive_5xx=1, interval=1.0, base_ejection_time=10.0, max_ejection_percent=100
    )
    world = World(config, 1)
    (host,) = world.hosts
    for time in range(1, times + 1):
        world.move("hear", 0, 2)
        ejection = world.events[-1]
        assert isinstance(ejection, EndpointEjected)
        assert round(ejection.until - world.clock.now, 6) == min(10.0 * time, 300.0)
        world.clock.now = round(ejection.until)
        world.move("sweep", 0, 0)
        assert not host.ejected
    before = host.outlier.multiplier
    assert before == min(times, 31)
    world.clock.jump(rest)
    world.move("sweep", 0, 0)
    assert host.outlier.multiplier == max(0, before - rest)
