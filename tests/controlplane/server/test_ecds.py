"""Filters that discover their configuration, from our own server, over a real stream."""

import asyncio

import pytest

from meshlib.controlplane import SnapshotCache, serve
from meshlib.errors import ConfigError
from meshlib.model import (
    ALWAYS,
    ROUTER,
    ExtensionConfig,
    Fault,
    FaultAbort,
    FilterDiscovery,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    LocalRateLimit,
    RouteConfiguration,
    Snapshot,
)
from meshlib.xds.bootstrap import Bootstrap, Node, Server
from meshlib.xds.client import XdsClient
from meshlib.xds.types import EXTENSION

HOST = "reviews:9080"
DEFAULT = Fault(abort=FaultAbort(http_status=418, percentage=ALWAYS))
FILTERS = (
    HttpFilter(name="f", config=FilterDiscovery(types=(Fault,), default_config=DEFAULT)),
    HttpFilter(name="g", config=FilterDiscovery(types=(LocalRateLimit,))),
    ROUTER,
)
LISTENER = Listener(
    name=HOST,
    http=HttpConnectionManager(routes=RouteConfiguration(name="r"), http_filters=FILTERS),
)


def aborting(status):
    fault = Fault(abort=FaultAbort(http_status=status, percentage=ALWAYS))
    return ExtensionConfig(name="f", config=fault)


LIMIT = ExtensionConfig(name="g", config=LocalRateLimit(stat_prefix="g"))


@pytest.fixture
def cache():
    return SnapshotCache(lambda node: "all")


class Member:
    """A client, and the snapshots that it makes of what it is told."""

    def __init__(self, address, *, delta):
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Condition()
        self.snapshot = Snapshot()
        self.problems = []
        server = Server(server_uri=address, delta=delta)
        self.client = XdsClient(
            Bootstrap(xds_servers=(server,), node=Node(id="ratings")),
            on_update=self._update,
            on_problem=self.problems.append,
            clock=self._loop.time,
            dice=lambda: 0.5,
        )

    def _update(self, snapshot, _):
        asyncio.run_coroutine_threadsafe(self._tell(snapshot), self._loop)

    async def _tell(self, snapshot):
        async with self._news:
            self.snapshot = snapshot
            self._news.notify_all()

    async def until(self, *configs):
        """Until the filters have discovered these, and no others."""
        wanted = {config.name: config for config in configs}
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: dict(self.snapshot.extensions) == wanted)


@pytest.fixture(params=[False, True], ids=["sotw", "delta"])
async def member(request, cache):
    async with serve(cache, "127.0.0.1:0") as server:
        made = Member(server.address, delta=request.param)
        made.client.start()
        try:
            yield made
        finally:
            await asyncio.to_thread(made.client.close)


async def test_filters_follow_what_the_cache_says(cache, member) -> None:
    cache.set_snapshot("all", [LISTENER, aborting(503), LIMIT])
    member.client.watch(HOST)
    await member.until(aborting(503), LIMIT)
    cache.update("all", [aborting(504)])
    await member.until(aborting(504), LIMIT)


async def test_what_is_refused_leaves_the_last_good_and_is_told(cache, member) -> None:
    cache.set_snapshot("all", [LISTENER, aborting(503), LIMIT])
    member.client.watch(HOST)
    await member.until(aborting(503), LIMIT)
    wrong = ExtensionConfig(name="f", config=LocalRateLimit())
    other = ExtensionConfig(name="g", config=LocalRateLimit(stat_prefix="other"))
    cache.update("all", [wrong, other])
    await member.until(aborting(503), other)
    assert any("no filter asked for (type_urls)" in text for text in member.problems)
    cache.update("all", [aborting(504)])
    await member.until(aborting(504), other)


@pytest.mark.parametrize("member", [True], indirect=True, ids=["delta"])
async def test_what_the_cache_removes_gives_way_to_the_default(cache, member) -> None:
    cache.set_snapshot("all", [LISTENER, aborting(503), LIMIT])
    member.client.watch(HOST)
    await member.until(aborting(503), LIMIT)
    cache.remove("all", ["f"], type_url=EXTENSION)
    await member.until(LIMIT)


def test_a_listener_whose_filter_finds_nothing_is_not_served(cache) -> None:
    with pytest.raises(ConfigError, match=r"http_filters\[g\].config_discovery: no extension"):
        cache.set_snapshot("all", [LISTENER])
    cache.set_snapshot("all", [LISTENER, LIMIT])
    with pytest.raises(ConfigError, match=r"http_filters\[g\].config_discovery: no extension"):
        cache.remove("all", ["g"])


def test_configurations_of_filters_that_meshlib_does_not_have_are_served_too(cache) -> None:
    stats = "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"
    raw = {"@type": EXTENSION, "name": "stats", "typed_config": {"@type": stats}}
    packed = cache.set_snapshot("all", [LISTENER, LIMIT, raw])
    assert set(packed.of(EXTENSION).resources) == {"g", "stats"}
