import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Eds,
    Endpoint,
    HttpConnectionManager,
    Listener,
    LocalityLbEndpoints,
    Rds,
    Route,
    RouteAction,
    RouteConfiguration,
    Snapshot,
    VirtualHost,
    gather,
)
from meshlib.testing.ads import AdsPair
from meshlib.testing.ads_server import PATIENCE, AdsServer
from meshlib.xds.bootstrap import Bootstrap
from meshlib.xds.client import XdsClient


class World:
    """Small resources: listener ``a`` leads to routes ``ra``, these to clusters by name."""

    @staticmethod
    def listener(
        name: str, routes: str | RouteConfiguration = "", prefix: str = "mesh"
    ) -> Listener:
        where = routes if isinstance(routes, RouteConfiguration) else Rds(routes or f"r{name}")
        return Listener(name=name, http=HttpConnectionManager(routes=where, stat_prefix=prefix))

    @staticmethod
    def table(name: str, *clusters: str) -> RouteConfiguration:
        routes = tuple(Route(action=RouteAction(cluster=cluster)) for cluster in clusters)
        host = VirtualHost(name="all", domains=("*",), routes=routes)
        return RouteConfiguration(name=name, virtual_hosts=(host,))

    @staticmethod
    def cluster(name: str, service: str = "", connect_timeout: float = 5.0) -> Cluster:
        return Cluster(name=name, discovery=Eds(service), connect_timeout=connect_timeout)

    @staticmethod
    def endpoints(name: str, *ports: int) -> ClusterLoadAssignment:
        places = tuple(Endpoint(address=Address("127.0.0.1", port)) for port in ports or (80,))
        return ClusterLoadAssignment(
            cluster_name=name, endpoints=(LocalityLbEndpoints(lb_endpoints=places),)
        )

    def chain(self, name: str, *clusters: str) -> Snapshot:
        """Everything that listener ``name`` needs."""
        return gather(
            listeners=[self.listener(name)],
            routes=[self.table(f"r{name}", *clusters)],
            clusters=map(self.cluster, clusters),
            endpoints=map(self.endpoints, clusters),
        )


@pytest.fixture(scope="session")
def world() -> World:
    return World()


@pytest.fixture(params=["sotw", "delta"])
def encoding(request: pytest.FixtureRequest) -> str:
    """The two encodings of xDS: what holds of one holds of the other."""
    return str(request.param)


@pytest.fixture
def a_pair(encoding: str) -> Callable[..., AdsPair]:
    def make(**options: Any) -> AdsPair:
        return AdsPair(delta=encoding == "delta", **options)

    return make


@pytest.fixture
def pair(a_pair: Callable[..., AdsPair]) -> AdsPair:
    return a_pair()


@pytest.fixture
def connected(pair: AdsPair) -> Callable[..., AdsPair]:
    """A pair that watches some listeners on a connected stream, its requests taken."""

    def connect(*listeners: str) -> AdsPair:
        pair.watch(*listeners)
        pair.connect()
        pair.take()
        return pair

    return connect


class Member:
    """A client and what it said."""

    def __init__(self, bootstrap: Bootstrap, **kwargs: Any) -> None:
        self.heard: queue.Queue[None] = queue.Queue()
        self.snapshot = Snapshot()
        self.absent: frozenset[str] = frozenset()
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.threads: set[str] = set()
        self.client = XdsClient(
            bootstrap,
            on_update=self._update,
            on_problem=self._problem,
            on_note=self.notes.append,
            clock=time.monotonic,
            dice=random.random,
            **kwargs,
        )
        self.client.start()

    def until(self, holds: Callable[[], object]) -> None:
        """Wait for news until something holds."""
        end = time.monotonic() + PATIENCE
        while not holds():
            self.heard.get(timeout=max(0.0, end - time.monotonic()))

    def _update(self, snapshot: Snapshot, absent: frozenset[str]) -> None:
        self.threads.add(threading.current_thread().name)
        self.snapshot, self.absent = snapshot, absent
        self.heard.put(None)

    def _problem(self, text: str) -> None:
        self.problems.append(text)
        self.heard.put(None)


@pytest.fixture
def control_plane() -> Iterator[Callable[..., AdsServer]]:
    running: list[AdsServer] = []

    def run(*args: Any, **options: Any) -> AdsServer:
        running.append(AdsServer(*args, **options))
        return running[-1]

    yield run
    for server in running:
        if not server.loop.is_closed():
            server.stop()


@pytest.fixture
def member(encoding: str) -> Iterator[Callable[..., Member]]:
    """Joins by port, in one of the encodings, or with a bootstrap of its own."""
    members: list[Member] = []

    def join(where: int | Bootstrap, **options: Any) -> Member:
        if isinstance(where, int):
            delta = encoding == "delta"
            where = Bootstrap.for_server(f"127.0.0.1:{where}", node_id="me", delta=delta)
        members.append(Member(where, **options))
        return members[-1]

    yield join
    for each in members:
        each.client.close()
