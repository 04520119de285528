"""Load reports to a real server, which says whose load it wants to be told of."""

import logging
import queue
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from meshlib.dataplane import Engine, Options, Request, Response
from meshlib.mesh.load_reports import LoadReports
from meshlib.mesh.upkeep import Upkeep
from meshlib.middleware._drive import Runtime
from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Eds,
    Endpoint,
    HttpConnectionManager,
    Listener,
    Locality,
    LocalityLbEndpoints,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    gather,
)
from meshlib.model.load import LoadReport
from meshlib.xds.bootstrap import Node
from meshlib.xds.bootstrap_servers import Server
from meshlib.xds.protos import message_class

SERVICE = "envoy.service.load_stats.v3.LoadReportingService"
REQUEST = "envoy.service.load_stats.v3.LoadStatsRequest"
RESPONSE = "envoy.service.load_stats.v3.LoadStatsResponse"
PATIENCE = 30.0
HOSTS = {"reviews:9080": "reviews", "ratings:9080": "ratings"}


class LoadServer:
    """Answers the first request of each stream with what it wants, and keeps what it is told."""

    def __init__(self) -> None:
        self.wanted: Any = message_class(RESPONSE)()
        self.wanted.load_reporting_interval.seconds = 1
        self.told: queue.Queue[Any] = queue.Queue()
        self.ends = threading.Event()
        self.over = threading.Event()
        handler = grpc.stream_stream_rpc_method_handler(self._stream)
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"StreamLoadStats": handler}),)
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _stream(self, requests: Iterator[bytes], call: Any) -> Iterator[bytes]:
        call.add_callback(self.over.set)
        for number, request in enumerate(requests):
            self.told.put(message_class(REQUEST).FromString(request))
            if not number:
                yield self.wanted.SerializeToString()
            if self.ends.is_set():
                self.ends.clear()
                return

    def hear(self) -> Any:
        return self.told.get(timeout=PATIENCE)

    def close(self) -> None:
        self._server.stop(None).wait()


class Member:
    def __init__(self, port: int) -> None:
        self.engine = Engine(
            clock=time.monotonic, dice=random.random, options=Options(complete=True)
        )
        runtime = Runtime(self.engine, clock=time.monotonic, sleep=time.sleep)
        self.upkeep = Upkeep(
            self.engine, runtime, dice=random.random, traffic=lambda _cluster: False
        )
        self.reports = LoadReports(
            lambda: Server(server_uri=f"127.0.0.1:{port}"),
            Node(id="me"),
            self.upkeep,
            clock=time.monotonic,
            dice=random.random,
        )

    def apply(self, *, lrs_server: bool = True, metrics: tuple[str, ...] = ()) -> None:
        place = LocalityLbEndpoints(
            locality=Locality("here", "there"),
            lb_endpoints=(Endpoint(address=Address("10.0.0.1", 80)),),
        )
        tables = {
            host: RouteConfiguration(
                name=host,
                virtual_hosts=(
                    VirtualHost(
                        name="all",
                        domains=("*",),
                        routes=(Route(action=RouteAction(cluster=cluster)),),
                    ),
                ),
            )
            for host, cluster in HOSTS.items()
        }
        snapshot = gather(
            listeners=[
                Listener(name=host, http=HttpConnectionManager(routes=table))
                for host, table in tables.items()
            ],
            clusters=[
                Cluster(
                    name=name,
                    discovery=Eds(f"{name}-eds"),
                    lrs_server=lrs_server,
                    lrs_report_endpoint_metrics=metrics,
                )
                for name in HOSTS.values()
            ],
            endpoints=[
                ClusterLoadAssignment(cluster_name=f"{name}-eds", endpoints=(place,))
                for name in HOSTS.values()
            ],
        )
        self.upkeep.apply(snapshot)
        self.reports.follow(snapshot)

    def call(self, host: str, status: int = 200) -> None:
        steps = self.engine.outbound(Request(target=host, method="GET", path="/"))
        next(steps)
        steps.send(Response(status))
        with pytest.raises(StopIteration):
            steps.send(None)


@pytest.fixture
def server() -> Iterator[LoadServer]:
    made = LoadServer()
    yield made
    made.close()


@pytest.fixture
def member(server) -> Iterator[Member]:
    made = Member(server.port)
    yield made
    made.reports.close()
    made.upkeep.close()


def test_the_server_is_told_of_the_clusters_that_it_names(server, member) -> None:
    server.wanted.clusters.append("reviews")
    member.apply()
    greeting = server.hear()
    assert greeting.node.id == "me"
    assert "envoy.lrs.supports_send_all_clusters" in greeting.node.client_features
    assert not greeting.cluster_stats
    member.call("reviews:9080")
    member.call("reviews:9080", 500)
    member.call("ratings:9080")
    report = server.hear()
    assert not report.HasField("node")
    (stats,) = report.cluster_stats
    assert (stats.cluster_name, stats.cluster_service_name) == ("reviews", "reviews-eds")
    assert stats.load_report_interval.ToSeconds() >= 0
    (locality,) = stats.upstream_locality_stats
    assert (locality.locality.region, locality.locality.zone) == ("here", "there")
    assert locality.total_issued_requests == 2
    assert locality.total_successful_requests == 1
    assert locality.total_error_requests == 1
    assert locality.total_requests_in_progress == 0
    assert not locality.upstream_endpoint_stats


def test_the_server_is_told_of_all_clusters_if_it_says_so(server, member) -> None:
    server.wanted.send_all_clusters = True
    server.wanted.report_endpoint_granularity = True
    member.apply()
    server.hear()
    member.call("reviews:9080")
    stats = {each.cluster_name: each for each in server.hear().cluster_stats}
    assert stats.keys() == {"reviews", "ratings"}
    assert not stats["ratings"].upstream_locality_stats
    (locality,) = stats["reviews"].upstream_locality_stats
    (endpoint,) = locality.upstream_endpoint_stats
    assert endpoint.address.socket_address.address == "10.0.0.1"
    assert endpoint.total_issued_requests == 1


def test_what_endpoints_report_is_told_on(server, member) -> None:
    server.wanted.send_all_clusters = True
    member.apply(metrics=("cpu_utilization", "named_metrics.*"))
    server.hear()
    member.call("reviews:9080")
    cluster = member.engine.clusters["reviews"]
    (endpoint,) = cluster.balance.endpoints.values()
    cluster.observe_load(endpoint, LoadReport(cpu_utilization=0.5, named={"queue": 3.0}))
    stats = {each.cluster_name: each for each in server.hear().cluster_stats}
    (locality,) = stats["reviews"].upstream_locality_stats
    assert locality.cpu_utilization.num_requests_finished_with_metric == 1
    assert locality.cpu_utilization.total_metric_value == 0.5
    (metric,) = locality.load_metric_stats
    assert (metric.metric_name, metric.total_metric_value) == ("named_metrics.queue", 3.0)


def test_what_happened_between_two_streams_is_told_on_the_second(server, member) -> None:
    server.wanted.send_all_clusters = True
    server.ends.set()
    member.apply()
    server.hear()
    member.call("reviews:9080")
    assert server.hear().node.id == "me"  # the second greeting
    counts = {
        each.cluster_name: sum(x.total_issued_requests for x in each.upstream_locality_stats)
        for each in server.hear().cluster_stats
    }
    assert counts == {"reviews": 1, "ratings": 0}


def test_nothing_begins_where_no_cluster_is_to_be_told_of(server, member) -> None:
    member.apply(lrs_server=False)
    assert not [t for t in threading.enumerate() if t.name.startswith("meshlib-lrs")]


def test_the_stream_ends_with_the_last_cluster_that_is_to_be_told_of(server, member) -> None:
    member.apply()
    server.hear()
    member.apply(lrs_server=False)
    assert server.over.wait(PATIENCE)
    member.apply()
    assert server.hear().node.id == "me"


def test_a_server_that_takes_no_reports_is_told_of() -> None:
    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.put(record.getMessage())

    heard: queue.Queue[str] = queue.Queue()
    ear = Ear()
    logging.getLogger("meshlib").addHandler(ear)
    bare = grpc.server(ThreadPoolExecutor(1))
    port = bare.add_insecure_port("127.0.0.1:0")
    bare.start()
    member = Member(port)
    member.apply()
    assert "UNIMPLEMENTED" in heard.get(timeout=PATIENCE)
    logging.getLogger("meshlib").removeHandler(ear)
    member.reports.close()
    bare.stop(None).wait()
