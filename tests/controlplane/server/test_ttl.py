"""Resources that live for a time only, and word of them that keeps them alive."""

import asyncio

import grpc
import grpc.aio
import pytest

import meshlib
from meshlib.controlplane import SnapshotCache, serve
from meshlib.errors import ConfigError
from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Eds,
    Endpoint,
    HttpConnectionManager,
    Listener,
    LocalityLbEndpoints,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
)
from meshlib.testing.grpc_servers import aio_serving
from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER, ENDPOINT

FREE = "127.0.0.1:0"
RESOURCE = "envoy.service.discovery.v3.Resource"
WRAPPED = f"type.googleapis.com/{RESOURCE}"
TTL = ("xds.config.supports-resource-ttl",)
SHORT = 0.3


def all_alike(_node):
    return "all"


@pytest.fixture
def cache():
    return SnapshotCache(all_alike, check=False)


@pytest.fixture
async def server(cache):
    async with serve(cache, FREE) as running:
        yield running


def unwrapped(packed):
    assert packed.type_url == WRAPPED
    return message_class(RESOURCE).FromString(packed.value)


async def test_what_lives_for_a_time_is_kept_alive_without_being_sent_again(server, cache, connect):
    cache.set_snapshot("all", [Cluster(name="c")], ttl=SHORT)
    stream = await connect(server.address, features=TTL, delta=True)
    await stream.ask("cds", "c")
    (sent,) = (await stream.accept()).resources
    assert sent.resource.type_url == CLUSTER
    assert sent.ttl.ToMilliseconds() == 300
    for _ in range(2):
        (beat,) = (await stream.accept()).resources
        assert not beat.HasField("resource")
        assert (beat.name, beat.version) == ("c", sent.version)
        assert beat.ttl == sent.ttl
    (full,) = (await stream.accept()).resources
    assert full == sent  # who was away for too long has it again


async def test_a_state_of_the_world_wraps_what_lives_for_a_time(server, cache, connect):
    cache.set_snapshot("all", [ClusterLoadAssignment(cluster_name="c")], ttl=SHORT, version="7")
    stream = await connect(server.address, features=TTL)
    await stream.ask("eds", "c")
    (packed,) = (await stream.accept("c")).resources
    sent = unwrapped(packed)
    assert (sent.name, sent.resource.type_url) == ("c", ENDPOINT)
    response = await stream.accept("c")
    assert response.version_info == "7"
    (packed,) = response.resources
    beat = unwrapped(packed)
    assert not beat.HasField("resource")
    assert (beat.name, beat.version, beat.ttl.ToMilliseconds()) == ("c", "7", 300)


async def test_envoy_takes_it_in_increments_though_it_does_not_say_so(server, cache, connect):
    cache.set_snapshot("all", [Cluster(name="c")], ttl=SHORT)
    stream = await connect(server.address, user_agent="envoy", delta=True)
    await stream.ask("cds", "c")
    (sent,) = (await stream.accept()).resources
    (again,) = (await stream.accept()).resources
    assert sent == again  # with its content, in case that it was forgotten meanwhile
    assert sent.ttl.ToMilliseconds() == 300


async def test_where_absence_means_removal_all_of_it_is_said_again(server, cache, connect):
    cache.set_snapshot("all", [Cluster(name="for-ever")])
    cache.update("all", [Cluster(name="for-a-time")], ttl=SHORT)
    stream = await connect(server.address, features=TTL)
    await stream.ask("cds")
    first = await stream.accept()
    again = await stream.accept()
    assert list(again.resources) == list(first.resources)
    assert again.version_info == first.version_info
    assert sorted(one.type_url for one in again.resources) == [CLUSTER, WRAPPED]


@pytest.mark.parametrize("user_agent", ["gRPC C-core linux", "envoy"])
async def test_who_does_not_know_of_it_is_sent_the_bare_resource_once(
    server, cache, connect, user_agent
):
    cache.set_snapshot("all", [Cluster(name="c")], ttl=SHORT)
    other = await connect(server.address, features=TTL, node_id="other")
    stream = await connect(server.address, user_agent=user_agent)
    for each in (stream, other):
        await each.ask("cds", "c")
    (packed,) = (await stream.accept("c")).resources
    assert packed.type_url == CLUSTER
    for _ in range(3):
        await other.accept("c")
    cache.set_snapshot("all", [Cluster(name="c", connect_timeout=9.0)], version="next")
    assert (await stream.accept("c")).version_info == "next"


async def test_a_resource_may_say_itself_how_long_it_lives(server, cache, connect):
    cache.set_snapshot("all", [{"@type": WRAPPED, "ttl": "60s", "resource": BARE}], ttl=SHORT)
    stream = await connect(server.address, features=TTL, delta=True)
    await stream.ask("cds", "c")
    (sent,) = (await stream.accept()).resources
    assert sent.ttl.ToMilliseconds() == 60_000


BARE = {"@type": CLUSTER, "name": "c", "type": "STATIC"}


async def test_what_was_refused_is_not_kept_alive(server, cache, connect):
    cache.set_snapshot("all", [Cluster(name="good"), Cluster(name="bad")], ttl=SHORT)
    stream = await connect(server.address, features=TTL, delta=True)
    await stream.ask("cds", "good", "bad")
    response = await stream.next()
    await stream.ask("cds", nonce=response.nonce, error="bad: not to my taste")
    for _ in range(2):
        (beat,) = (await stream.accept()).resources
        assert beat.name == "good"
        assert beat.HasField("resource")  # it may not have been taken in


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e12])
def test_a_time_to_live_that_is_none_is_refused(cache, ttl):
    with pytest.raises(ConfigError, match="no time to live"):
        cache.set_snapshot("all", [Cluster(name="c")], ttl=ttl)


@pytest.fixture
async def port():
    async def unary(_request, _call):
        return b"hello"

    async with aio_serving("/test.T/Unary", unary) as port:
        yield port


async def always(call):
    while True:
        await call(b"", timeout=5)


async def test_meshlib_runs_on_it_as_long_as_it_hears_of_it_and_not_after(cache, port):
    routes = (Route(action=RouteAction(cluster="c")),)
    host = VirtualHost(name="all", domains=("*",), routes=routes)
    table = RouteConfiguration(name="r", virtual_hosts=(host,))
    place = LocalityLbEndpoints(lb_endpoints=(Endpoint(address=Address("127.0.0.1", port)),))
    cache.set_snapshot(
        "all",
        [
            Listener(name="hello:80", http=HttpConnectionManager(routes=table)),
            Cluster(name="c", discovery=Eds("c")),
            ClusterLoadAssignment(cluster_name="c", endpoints=(place,)),
        ],
        ttl=1.0,
    )
    responses = []

    def wire(direction, message):
        if direction == "response":
            responses.append(message)

    async with serve(cache, FREE, wire=wire) as server:
        mesh = meshlib.Mesh("caller", control_plane=server.address)
        async with asyncio.timeout(30):
            call = mesh.grpc.aio_channel("hello:80").unary_unary("/test.T/Unary")
            while len(responses) < 25:  # more than two times to live
                assert await call(b"", timeout=10) == b"hello"
    async with asyncio.timeout(30), mesh:
        with pytest.raises(grpc.aio.AioRpcError) as forgotten:
            await always(call)
    assert forgotten.value.code() == grpc.StatusCode.UNAVAILABLE
