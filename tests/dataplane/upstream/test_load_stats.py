"""The load that calls make, counted for who wants to be told of it."""

from typing import Any

import pytest

from meshlib.dataplane import Cause, Deliver, Engine, Failure, Options, Request, Response, Send
from meshlib.model import (
    Address,
    CircuitBreakers,
    Cluster,
    ClusterLoadAssignment,
    DropOverload,
    Eds,
    Endpoint,
    HttpConnectionManager,
    Listener,
    Locality,
    LocalityLbEndpoints,
    Route,
    RouteAction,
    RouteConfiguration,
    Thresholds,
    VirtualHost,
    gather,
)
from meshlib.model.load import LoadReport
from meshlib.model.load_stats import ClusterStats, MetricStats
from meshlib.testing import FakeClock

HOST = "reviews:9080"
HERE, THERE = Locality("here"), Locality("there")
OK = Response(200)


class World:
    """One host with one cluster, and calls to it that end as the test says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.dice = 0.0
        self.engine = Engine(
            clock=self.clock, dice=lambda: self.dice, options=Options(complete=True)
        )

    def apply(self, *localities: LocalityLbEndpoints, drops: Any = (), **fields: Any) -> None:
        found = localities or (at(HERE, 80),)
        assignment = ClusterLoadAssignment(
            cluster_name="eds", endpoints=found, drop_overloads=tuple(drops)
        )
        table = RouteConfiguration(
            name="r",
            virtual_hosts=(
                VirtualHost(
                    name="all",
                    domains=("*",),
                    routes=(Route(action=RouteAction(cluster="reviews")),),
                ),
            ),
        )

        settings = {"lrs_server": True, **fields}
        self.engine.apply(
            gather(
                listeners=[Listener(name=HOST, http=HttpConnectionManager(routes=table))],
                clusters=[Cluster(name="reviews", discovery=Eds("eds"), **settings)],
                endpoints=[assignment],
            )
        )

    def begin(self) -> Any:
        """A call on its way: its steps, and what they do first."""
        steps = self.engine.outbound(Request(target=HOST, method="GET", path="/"))
        return steps, next(steps)

    def call(self, outcome: Any = OK) -> None:
        steps, effect = self.begin()
        while isinstance(effect, Send):
            effect = steps.send(outcome)
        assert isinstance(effect, Deliver)
        with pytest.raises(StopIteration):
            steps.send(None)

    @property
    def load(self) -> Any:
        return self.engine.clusters["reviews"].load

    def take(self) -> ClusterStats:
        stats: ClusterStats = self.load.take()
        return stats


def at(locality: Locality, *ports: int, priority: int = 0) -> LocalityLbEndpoints:
    return LocalityLbEndpoints(
        locality=locality,
        lb_endpoints=tuple(Endpoint(address=Address("10.0.0.1", port)) for port in ports),
        priority=priority,
    )


@pytest.fixture
def world() -> World:
    return World()


def counts(stats: ClusterStats) -> tuple[int, int, int, int]:
    """Of all localities: issued, successful, error, in progress."""
    found = stats.localities
    return (
        sum(each.issued for each in found),
        sum(each.successful for each in found),
        sum(each.error for each in found),
        sum(each.in_progress for each in found),
    )


def test_calls_are_counted_as_issued_and_by_how_they_ended(world: World) -> None:
    world.apply()
    world.call()
    world.call(Response(503))
    world.call(Response(200, grpc_status=14))
    world.call(Response(200, grpc_status=0))
    world.call(Response(404))
    assert counts(world.take()) == (5, 3, 2, 0)


def test_a_call_without_an_answer_is_an_error(world: World) -> None:
    world.apply()
    world.call(Failure(Cause.TIMEOUT))
    assert counts(world.take()) == (1, 0, 1, 0)


def test_a_call_that_its_caller_gave_up_is_an_error(world: World) -> None:
    world.apply()
    steps, _ = world.begin()
    steps.close()
    assert counts(world.take()) == (1, 0, 1, 0)


def test_what_is_told_once_is_not_told_again(world: World) -> None:
    world.apply()
    world.call()
    world.take()
    assert world.take().localities == ()


def test_a_call_that_goes_on_is_issued_once_and_in_progress_until_it_ends(world: World) -> None:
    world.apply()
    steps, _ = world.begin()
    assert counts(world.take()) == (1, 0, 0, 1)
    assert counts(world.take()) == (0, 0, 0, 1)
    steps.send(OK)
    steps.close()
    assert counts(world.take()) == (0, 0, 1, 0)


def test_the_body_of_an_answer_is_part_of_the_call(world: World) -> None:
    world.apply()
    steps, _ = world.begin()
    assert isinstance(steps.send(OK), Deliver)
    assert counts(world.take()) == (1, 0, 0, 1)
    with pytest.raises(StopIteration):
        steps.send(Failure(Cause.RESET))
    assert counts(world.take()) == (0, 0, 1, 0)


def test_each_locality_is_told_by_itself(world: World) -> None:
    world.apply(at(HERE, 80, 81), at(THERE, 82))
    for _ in range(3):
        world.call()
    here, there = world.take().localities
    assert (here.locality, here.issued) == (HERE, 2)
    assert (there.locality, there.issued) == (THERE, 1)
    assert {each.address.port: each.issued for each in here.endpoints} == {80: 1, 81: 1}


def test_the_interval_is_what_passed_since_the_last_time(world: World) -> None:
    world.apply()
    world.clock.now += 10
    assert world.take().interval == 10
    world.clock.now += 3
    stats = world.take()
    assert stats.interval == 3
    assert (stats.cluster_name, stats.cluster_service_name) == ("reviews", "eds")


def test_calls_to_an_endpoint_that_left_are_told_until_they_end(world: World) -> None:
    world.apply(at(HERE, 80))
    steps, _ = world.begin()
    world.apply(at(THERE, 81))
    assert counts(world.take()) == (1, 0, 0, 1)
    with pytest.raises(StopIteration):
        steps.send(OK), steps.send(None)
    (stats,) = world.take().localities
    assert (stats.locality, stats.successful) == (HERE, 1)


def test_calls_that_began_before_anybody_wanted_to_know_are_not_issued_again(world: World) -> None:
    world.apply(lrs_server=False)
    steps, _ = world.begin()
    assert world.load is None
    world.apply(lrs_server=True)
    assert counts(world.take()) == (0, 0, 0, 1)
    with pytest.raises(StopIteration):
        steps.send(OK), steps.send(None)
    assert counts(world.take()) == (0, 1, 0, 0)


def test_nothing_is_counted_where_nobody_wants_to_know(world: World) -> None:
    world.apply()
    (endpoint,) = world.engine.clusters["reviews"].balance.endpoints.values()
    assert endpoint.counts is not None
    world.apply(lrs_server=False)
    assert endpoint.counts is None
    world.call()


def test_what_is_dropped_for_overload_is_told_by_category(world: World) -> None:
    half = [DropOverload(category="a", numerator=50), DropOverload(category="b", numerator=50)]
    world.apply(drops=half)
    world.dice = 0.7  # dropped (a quarter is kept), and of three parts in four the last
    world.call()
    world.dice = 0.1
    world.call()
    stats = world.take()
    assert stats.total_dropped == 2
    assert dict(stats.dropped) == {"a": 1, "b": 1}
    assert counts(stats)[0] == 0


def test_what_a_circuit_breaker_refuses_is_dropped_without_a_category(world: World) -> None:
    world.apply(circuit_breakers=CircuitBreakers(default=Thresholds(max_requests=0)))
    world.call()
    stats = world.take()
    assert (stats.total_dropped, stats.dropped) == (1, ())


REPORT = LoadReport(cpu_utilization=0.5, mem_utilization=0.25, named={"q": 3.0, "utilization.x": 1})


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ((), {}),
        (("cpu_utilization",), {"cpu_utilization": 1.0}),
        (("application_utilization",), {}),
        (("named_metrics.*",), {"named_metrics.q": 6.0}),
        (("named_metrics.q", "named_metrics.*"), {"named_metrics.q": 6.0}),
        (("named_metrics.other",), {}),
        (("utilization.*",), {"utilization.x": 2.0}),
    ],
)
def test_metrics_of_endpoints_are_told_as_far_as_they_are_named(
    world: World, wanted: tuple[str, ...], told: dict[str, float]
) -> None:
    world.apply(lrs_report_endpoint_metrics=wanted)
    cluster = world.engine.clusters["reviews"]
    (endpoint,) = cluster.balance.endpoints.values()
    assert endpoint.wants_trailers is bool(wanted)
    world.call()
    for _ in range(2):
        cluster.observe_load(endpoint, REPORT)
    (stats,) = world.take().localities
    assert stats.metrics == tuple((name, MetricStats(2, total)) for name, total in told.items())


def test_a_metric_named_twice_is_counted_once(world: World) -> None:
    world.apply(lrs_report_endpoint_metrics=("named_metrics.*", "named_metrics.q"))
    cluster = world.engine.clusters["reviews"]
    (endpoint,) = cluster.balance.endpoints.values()
    world.call()
    cluster.observe_load(endpoint, REPORT)
    (stats,) = world.take().localities
    assert stats.metrics == (("named_metrics.q", MetricStats(1, 3.0)),)
