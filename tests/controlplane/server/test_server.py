"""The server over real sockets: both encodings, every service, and what it does not bear."""

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from itertools import count

import grpc
import pytest

from meshlib.controlplane import Limits, serve
from meshlib.errors import MeshError
from meshlib.model import (
    Cluster,
    ClusterLoadAssignment,
    RouteConfiguration,
)
from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER, ENDPOINT

DISCOVERY = "envoy.service.discovery.v3"
FREE = "127.0.0.1:0"


def cluster(name="c", timeout=2.0):
    return Cluster(name=name, connect_timeout=timeout)


async def test_delta_sends_resources_with_their_versions(server, cache, connect):
    stream = await connect(server.address, delta=True)
    await stream.ask("cds", "c", "nobody")
    response = await stream.accept()
    assert response.type_url == CLUSTER
    assert response.system_version_info == "1"
    assert list(response.removed_resources) == ["nobody"]
    (sent,) = response.resources
    assert sent.name == "c"
    assert sent.resource.type_url == CLUSTER
    cache.set_snapshot("all", [cluster(), Cluster(name="nobody")], version="2")
    response = await stream.accept()
    assert [r.name for r in response.resources] == ["c", "nobody"]
    assert response.resources[0].version != sent.version


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x1a\x01\xff"], ids=["bytes", "text"])
@pytest.mark.parametrize("method", ["Stream", "Delta", "Fetch"])
async def test_who_speaks_garbage_is_told_so_and_nothing_else_happens(
    server, method, garbage, caplog
):
    begin = "envoy.service.cluster.v3.ClusterDiscoveryService"
    async with grpc.aio.insecure_channel(server.address) as channel:
        if method == "Fetch":
            call = channel.unary_unary(f"/{begin}/FetchClusters")(garbage)
        else:
            call = channel.stream_stream(f"/{begin}/{method}Clusters")(iter([garbage]))
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "Error parsing message" in await call.details()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_node_that_json_cannot_say_is_refused(server, caplog):
    first = message_class(f"{DISCOVERY}.DiscoveryRequest")()
    first.node.id = "odd"
    first.node.metadata["LABELS"] = float("nan")
    method = "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters"
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream(method)(iter([first.SerializeToString()]))
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "the metadata of the node" in await call.details()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_garbage_in_the_midst_of_a_stream_ends_it(server, caplog):
    first = message_class(f"{DISCOVERY}.DeltaDiscoveryRequest")(resource_names_subscribe=["c"])
    first.node.id = "turns"
    method = "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters"
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream(method)()
        await call.write(first.SerializeToString())
        await call.read()
        await call.write(b"\xff")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_delta_client_that_comes_back_gets_what_differs_only(server, cache, connect):
    cache.set_snapshot("all", [cluster("same"), cluster("other"), cluster("gone")])
    stream = await connect(server.address, delta=True)
    await stream.ask("cds", "*")
    versions = {r.name: r.version for r in (await stream.accept()).resources}
    cache.set_snapshot("all", [cluster("same"), cluster("other", 3.0)])
    back = await connect(server.address, delta=True)
    await back.ask("cds", "*", has=versions)
    response = await back.accept()
    assert [r.name for r in response.resources] == ["other"]
    assert list(response.removed_resources) == ["gone"]


async def test_a_delta_nack_is_recorded_and_not_answered_by_the_same(server, cache, connect):
    stream = await connect(server.address, delta=True, node_id="picky")
    await stream.ask("cds", "c")
    response = await stream.next()
    await stream.ask("cds", nonce=response.nonce, error="clusters/c: not to my taste")
    await stream.ask("eds", "c")
    assert (await stream.accept()).type_url == ENDPOINT
    (client,) = server.status.to_dict()["clients"]
    assert client["protocol"] == "delta"
    assert client["types"]["cds"]["state"] == "NACK"
    (nack,) = server.status.to_dict()["nacks"]
    assert (nack["client"], nack["type"], nack["resources"]) == ("picky", "cds", ["c"])


async def test_what_is_of_no_known_type_is_served_as_it_was_given(server, cache, connect):
    cache.set_snapshot("all", [{"@type": LAYER, "name": "flags", "layer": {"a": 1}}])
    stream = await connect(server.address, delta=True)
    await stream.ask(LAYER, "flags")
    (sent,) = (await stream.accept()).resources
    assert sent.resource.type_url == LAYER


LAYER = "type.googleapis.com/envoy.service.runtime.v3.Runtime"


# What it does not bear (security.md, 3.9)


async def refusal(cache, connect, limits, **node):
    async with serve(cache, FREE, limits=limits) as server:
        first = await connect(server.address)
        await first.ask("cds", "c")
        await first.accept("c")
        stream = await connect(server.address, **node)
        with suppress(grpc.aio.AioRpcError):  # it may be refused before it said anything
            await stream.ask("cds", "c")
        code = await stream.ended()
        return code, dict(server.status.metrics.refused_streams)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(streams=1), "streams"),
        (Limits(streams_per_node=1), "streams_per_node"),
        (Limits(new_streams=1, new_streams_per_second=0.001), "new_streams"),
        (Limits(node_bytes=200), "node"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
async def test_streams_beyond_a_limit_are_refused(cache, connect, limits, reason):
    code, counted = await refusal(cache, connect, limits, story="x" * 300 * (reason == "node"))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert counted == {reason: 1}


async def test_a_message_that_is_too_long_ends_the_stream(cache, connect):
    async with serve(cache, FREE, limits=Limits(request_bytes=1000)) as server:
        stream = await connect(server.address)
        await stream.ask("cds", "c" * 2000)
        assert await stream.ended() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_too_many_names_end_the_stream(server, connect):
    stream = await connect(server.address, delta=True)
    await stream.ask("eds", *(str(number) for number in range(10_001)))
    assert await stream.ended() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def sleeper(cache, connect, said):
    """``async with sleeper(octets) as (server, stream)``: it asked for three resources as large as
    that, and was found to read too slowly."""

    @asynccontextmanager
    async def asked(octets):
        big = "x" * octets
        assignment = ClusterLoadAssignment(cluster_name=big)
        cache.set_snapshot("all", [cluster(big), assignment, RouteConfiguration(name=big)])
        async with serve(cache, FREE, limits=Limits(push_timeout=0.2)) as server:
            stream = await connect(server.address)
            for kind in ("cds", "eds", "rds"):
                await stream.ask(kind, "*")
            await said("reads too slowly")
            yield server, stream

    return asked


async def test_a_client_that_reads_nothing_is_ended_and_never_has_a_queue(sleeper):
    async with sleeper(8_000_000) as (server, _):
        assert max(server.status.metrics.pushes.values(), default=0) <= 1


async def all_of(stream):
    while True:
        await stream.next()


async def test_who_reads_too_late_gets_what_was_under_way_and_then_the_end(sleeper):
    async with sleeper(3_000_000) as (server, stream):
        assert (await stream.next()).type_url == CLUSTER
        with pytest.raises(grpc.aio.AioRpcError) as end:
            await all_of(stream)
        assert end.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.status.metrics.refused_streams == {"slow": 1}


async def test_requests_beyond_their_rate_are_read_later_and_answers_are_not(cache, connect):
    limits = Limits(requests=2, requests_per_second=20.0)
    async with serve(cache, FREE, limits=limits) as server:
        stream = await connect(server.address, delta=True)
        for number in range(4):
            await stream.ask("cds", f"n{number}")
        removed = set()
        while len(removed) < 4:
            removed |= set((await stream.accept()).removed_resources)
        assert removed == {"n0", "n1", "n2", "n3"}


async def test_the_first_change_is_pushed_at_once_and_those_on_its_heels_together(cache, connect):
    async with serve(cache, FREE, limits=Limits(debounce=0.2)) as server:
        stream = await connect(server.address)
        await stream.ask("cds", "c")
        await stream.accept("c")
        for version in range(2, 12):
            cache.set_snapshot("all", [cluster(timeout=float(version))], version=str(version))
        assert (await stream.accept("c")).version_info == "2"
        assert (await stream.accept("c")).version_info == "11"


async def test_changes_that_never_cease_are_pushed_all_the_same(cache, connect):
    async with serve(cache, FREE, limits=Limits(debounce=0.05)) as server:
        stream = await connect(server.address)
        await stream.ask("cds", "c")
        await stream.accept("c")

        async def edit():
            for version in count(2):
                cache.set_snapshot("all", [cluster(timeout=float(version))], version=str(version))
                await asyncio.sleep(0)

        editing = asyncio.create_task(edit())
        versions = [int((await stream.accept("c")).version_info) for _ in range(4)]
        editing.cancel()
        assert versions == sorted(set(versions))
        assert versions[-1] - versions[0] > 3  # most of them were passed over


async def test_an_old_stream_ends_well_and_its_connection_is_told_to_go(cache, connect):
    async with serve(cache, FREE, limits=Limits(max_connection_age=1.5)) as server:
        stream = await connect(server.address)
        await stream.ask("cds", "c")
        await stream.accept("c")
        assert await stream.ended() == grpc.StatusCode.OK


async def test_after_goaway_a_client_comes_back_on_another_connection(cache, connect):
    async with serve(cache, FREE, limits=Limits(max_connection_age=1.5)) as server:
        peers = set()
        for _ in range(2):  # channels to one address share a connection
            stream = await connect(server.address)
            await stream.ask("cds", "c")
            await stream.accept("c")
            peers |= {client.peer for client in server.status.clients}
            await stream.ended()
        assert len(peers) == 2


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
PING = bytes((0, 0, 8, 6, 0, 0, 0, 0, 0)) + b"are you?"
PING_TYPE, GOAWAY_TYPE = 6, 7


async def test_a_client_that_pings_an_idle_connection_is_not_hung_up_on(server):
    reader, writer = await asyncio.open_connection(*server.address.split(":"))
    writer.write(PREFACE + SETTINGS)
    answered = 0
    async with asyncio.timeout(20):
        while answered < 10:  # one at a time, as a server forgives a few at once
            writer.write(PING)
            kind = None
            while kind != PING_TYPE:
                head = await reader.readexactly(9)
                kind, length = head[3], int.from_bytes(head[:3])
                assert kind != GOAWAY_TYPE
                await reader.readexactly(length)
            answered += 1
    writer.close()
    await writer.wait_closed()


async def test_a_socket_of_this_machine_will_do(cache, connect, tmp_path):
    address = f"unix:{tmp_path}/xds.sock"
    async with serve(cache, address) as server:
        assert server.address == address
        stream = await connect(address)
        await stream.ask("cds", "c")
        assert len((await stream.accept("c")).resources) == 1


async def test_meshlib_is_told_of_any_type_what_does_not_exist(server, connect):
    stream = await connect(server.address, user_agent="meshlib")
    await stream.ask("eds", "c", "nobody")
    response = await stream.accept("c", "nobody")
    assert [error.resource_name.name for error in response.resource_errors] == ["nobody"]
    assert len(response.resources) == 1


async def test_what_a_client_says_cannot_act_on_a_terminal(server, connect):
    stream = await connect(server.address, node_id="anna\x1b[31m\nroot")
    await stream.ask("cds", "c")
    await stream.next()
    await stream.ask("cds", "c", error="no\x1b]0;\r\n" + "x" * 10_000)
    await stream.ask("eds", "c")
    await stream.accept("c")
    (nack,) = server.status.to_dict()["nacks"]
    assert nack["client"] == "anna [31m root"
    assert nack["text"].startswith("no ]0;  xxx")
    assert len(nack["text"]) < 5000


async def test_a_refusal_that_is_repeated_is_logged_once(server, cache, connect, caplog):
    stream = await connect(server.address)
    for number in range(3):
        await stream.ask("cds", "c", f"n{number}")
        await stream.next()
        await stream.ask("cds", "c", f"n{number}", error="no")
    await stream.ask("eds", "c")
    await stream.accept("c")
    assert server.status.metrics.nacks["cds"] == 3
    assert sum("refused cds" in line for line in caplog.messages) == 1


async def test_every_message_is_shown_to_who_watches_the_wire(cache, connect):
    shown = []
    async with serve(cache, FREE, wire=lambda *one: shown.append(one)) as server:
        stream = await connect(server.address, delta=True)
        await stream.ask("cds", "c")
        nonce = (await stream.accept()).nonce
        await stream.ask("eds", "c")
        await stream.accept()
    said = [(direction, message["type_url"]) for direction, message in shown[:4]]
    assert said == [
        ("request", CLUSTER),
        ("response", CLUSTER),
        ("request", CLUSTER),
        ("request", ENDPOINT),
    ]
    assert shown[1][1]["resources"][0]["name"] == "c"
    assert shown[2][1]["response_nonce"] == nonce
    assert {message["stream"] for _, message in shown} == {1}


async def test_a_cache_that_is_served_is_changed_on_its_event_loop_only(server, cache, connect):
    stream = await connect(server.address, delta=True)
    await stream.ask("cds", "c")
    await stream.accept()
    before = cache.set_snapshot("all", [cluster(timeout=3.0)])
    with pytest.raises(MeshError, match="on the event loop that serves it"):
        await asyncio.to_thread(cache.set_snapshot, "all", [cluster(timeout=4.0)])
    assert cache.set_snapshot("all", [cluster(timeout=3.0)]).types[CLUSTER] is before.types[CLUSTER]
