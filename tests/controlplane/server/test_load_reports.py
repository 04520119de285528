"""What clients tell of their load (LRS), at a server over real sockets."""

import asyncio

import aiohttp
import grpc
import grpc.aio
import pytest

import meshlib
from meshlib.controlplane import Limits, SnapshotCache, loads, serve
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
)
from meshlib.testing.grpc_servers import aio_serving
from meshlib.xds.load_report import ALL_CLUSTERS, METHOD, REQUEST, RESPONSE
from meshlib.xds.protos import message_class

FREE = "127.0.0.1:0"
OFTEN = Limits(load_interval=1.0)


def all_alike(_node):
    return "all"


class Reports:
    """One raw stream of reports."""

    def __init__(self, call):
        self._call = call

    async def greet(self, node_id="t", *features):
        request = message_class(REQUEST)()
        request.node.id = node_id
        request.node.client_features.extend(features)
        await self._call.write(request)

    async def tell(self, *clusters, seconds=2, successful=0, error=0, dropped=0):
        request = message_class(REQUEST)()
        for name in clusters:
            stats = request.cluster_stats.add(
                cluster_name=name, total_dropped_requests=dropped, cluster_service_name=f"{name}-s"
            )
            stats.load_report_interval.seconds = seconds
            stats.dropped_requests.add(category="lb", dropped_count=dropped)
            locality = stats.upstream_locality_stats.add(
                total_successful_requests=successful, total_error_requests=error
            )
            locality.locality.region = "north"
            locality.locality.zone = "a"
            locality.load_metric_stats.add(
                metric_name="queue", num_requests_finished_with_metric=2, total_metric_value=3.0
            )
        await self._call.write(request)

    async def say_no_more(self):
        await self._call.done_writing()

    async def wanted(self):
        response = await asyncio.wait_for(self._call.read(), 10)
        assert response is not grpc.aio.EOF, await self._call.code()
        return response

    async def ended(self):
        return await asyncio.wait_for(self._call.code(), 10)


@pytest.fixture
async def report():
    channels = []

    def opened(address):
        channels.append(grpc.aio.insecure_channel(address))
        method = channels[-1].stream_stream(
            METHOD,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(RESPONSE).FromString,
        )
        return Reports(method())

    yield opened
    for channel in channels:
        await channel.close()


@pytest.fixture
def cache():
    made = SnapshotCache(all_alike, check=False)
    made.set_snapshot("all", [Cluster(name="a"), Cluster(name="b")])
    return made


@pytest.fixture
async def server(cache):
    async with serve(cache, FREE, admin=FREE, limits=OFTEN) as running:
        yield running


async def get(server, path):
    url = f"http://{server.admin_address}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await (answer.json() if path.startswith("/api") else answer.text())


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a report is answered by nothing to wait for
            await asyncio.sleep(0)


async def test_a_client_is_asked_for_the_clusters_that_it_was_sent(server, cache, report):
    stream = report(server.address)
    await stream.greet()
    wanted = await stream.wanted()
    assert list(wanted.clusters) == ["a", "b"]
    assert not wanted.send_all_clusters
    assert wanted.load_reporting_interval.ToSeconds() == 1
    cache.update("all", [Cluster(name="c")])
    await stream.tell("a")
    assert list((await stream.wanted()).clusters) == ["a", "b", "c"]


async def test_a_client_that_can_tell_of_all_clusters_is_asked_for_all(server, report):
    stream = report(server.address)
    await stream.greet("t", ALL_CLUSTERS)
    wanted = await stream.wanted()
    assert wanted.send_all_clusters
    assert not wanted.clusters


async def test_the_last_report_of_each_client_is_shown_and_all_are_counted(server, report):
    streams = [report(server.address) for _ in range(2)]
    for number, stream in enumerate(streams):
        await stream.greet(f"client-{number}")
        await stream.wanted()
        for successful in (1, 8):
            await stream.tell("a", successful=successful, error=2, dropped=4)
    await until(lambda: server.status.loads.reports == 6)
    shown = await get(server, "/api/v1/loads")
    assert [client["id"] for client in shown["clients"]] == ["client-0", "client-1"]
    (load,) = shown["clients"][0]["clusters"]
    assert (load["cluster"], load["service"], load["interval_seconds"]) == ("a", "a-s", 2.0)
    assert (load["dropped"], load["dropped_by_category"]) == (4, {"lb": 4})
    (locality,) = load["localities"]
    assert (locality["locality"], locality["successful"], locality["error"]) == ("north/a", 8, 2)
    assert locality["metrics"] == {"queue": {"count": 2, "total": 3.0}}
    (together,) = (await get(server, "/api/v1/status"))["loads"]
    assert (together["cluster"], together["clients"]) == ("a", 2)
    assert together["successful_per_second"] == 8.0
    assert together["dropped_per_second"] == 4.0
    lines = await get(server, "/metrics")
    name = 'meshlib_control_plane_reported_calls_total{cluster="a"'
    assert f'{name},result="successful"}} 18' in lines
    assert f'{name},result="error"}} 8' in lines
    assert "meshlib_control_plane_load_reporters 2" in lines


async def test_what_a_client_told_goes_with_its_stream(server, report):
    stream = report(server.address)
    await stream.greet()
    await stream.wanted()
    assert len(server.status.loads.reporters) == 1
    await stream.say_no_more()
    assert await stream.ended() == grpc.StatusCode.OK
    await until(lambda: not server.status.loads.reporters)


async def test_clusters_beyond_the_bounds_are_counted_together(server, report, monkeypatch):
    monkeypatch.setattr(loads, "CLUSTERS_PER_CLIENT", 2)
    monkeypatch.setattr(loads, "COUNTED_CLUSTERS", 2)
    stream = report(server.address)
    await stream.greet()
    await stream.wanted()
    await stream.tell("a", "b", "c", "d", successful=3)
    await until(lambda: server.status.loads.reports == 2)
    (shown,) = server.status.loads.to_dicts()
    assert [load["cluster"] for load in shown["clusters"]] == ["a", "b"]
    lines = "\n".join(server.status.loads.lines())
    assert 'cluster="(others)",result="successful"} 6' in lines
    assert 'cluster="c"' not in lines


async def test_what_all_clients_tell_together_is_bounded(server, report, monkeypatch):
    monkeypatch.setattr(loads, "STORED", 4)
    streams = [report(server.address) for _ in range(2)]
    for number, stream in enumerate(streams):
        await stream.greet(f"client-{number}")
        await stream.wanted()
        await stream.tell("a", "b", successful=1)  # each with one locality
        await until(lambda: server.status.loads.reports == 2 * number + 2)  # noqa: B023
    first, second = server.status.loads.to_dicts()
    assert [len(one["clusters"]) for one in (first, second)] == [2, 0]
    await streams[0].say_no_more()
    await until(lambda: len(server.status.loads.reporters) == 1)
    await streams[1].tell("a", "b")
    await until(lambda: server.status.loads.reports == 5)
    assert len(server.status.loads.to_dicts()[0]["clusters"]) == 2


async def test_a_stream_of_reports_begins_with_a_node(server, report):
    stream = report(server.address)
    await stream.tell("a")
    assert await stream.ended() == grpc.StatusCode.INVALID_ARGUMENT


async def test_streams_of_reports_count_as_streams(cache, report, connect):
    async with serve(cache, FREE, limits=Limits(streams_per_node=1)) as server:
        stream = await connect(server.address)
        await stream.ask("cds", "a")
        await stream.accept("a")
        reports = report(server.address)
        await reports.greet()
        assert await reports.ended() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_stop_ends_streams_of_reports_in_order(cache, report):
    async with serve(cache, FREE) as server:
        stream = report(server.address)
        await stream.greet()
        await stream.wanted()
    assert await stream.ended() == grpc.StatusCode.OK


async def test_an_old_stream_of_reports_ends_well(cache, report):
    async with serve(cache, FREE, limits=Limits(max_connection_age=0.5)) as server:
        stream = report(server.address)
        await stream.greet()
        await stream.wanted()
        assert await stream.ended() == grpc.StatusCode.OK


@pytest.fixture
async def port():
    async def unary(_request, _call):
        return b"hello"

    async with aio_serving("/test.T/Unary", unary) as port:
        yield port


async def test_meshlib_tells_its_control_plane_of_its_calls(server, cache, port):
    place = LocalityLbEndpoints(
        locality=Locality("north", "a"),
        lb_endpoints=(Endpoint(address=Address("127.0.0.1", port)),),
    )
    routes = (Route(action=RouteAction(cluster="c")),)
    host = VirtualHost(name="all", domains=("*",), routes=routes)
    table = RouteConfiguration(name="r", virtual_hosts=(host,))
    cache.set_snapshot(
        "all",
        [
            Listener(name="hello:80", http=HttpConnectionManager(routes=table)),
            Cluster(name="c", discovery=Eds("c"), lrs_server=True),
            ClusterLoadAssignment(cluster_name="c", endpoints=(place,)),
        ],
    )
    async with meshlib.Mesh("caller", control_plane=server.address) as mesh:
        call = mesh.grpc.aio_channel("hello:80").unary_unary("/test.T/Unary")
        for _ in range(5):
            assert await call(b"", timeout=10) == b"hello"

        def told():
            totals = server.status.loads.lines()
            return any(line.endswith('cluster="c",result="successful"} 5') for line in totals)

        await until(told)
        (client,) = server.status.loads.to_dicts()
        assert client["kind"] == "meshlib"
        assert client["clusters"][0]["localities"][0]["locality"] == "north/a"
