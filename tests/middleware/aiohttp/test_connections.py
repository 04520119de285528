"""How long the connections of a session live, as the cluster says."""

import asyncio
import socket

import pytest
from aiohttp import web

from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    HttpConnectionManager,
    HttpProtocolOptions,
    Listener,
    LocalityLbEndpoints,
    Route,
    RouteAction,
    RouteConfiguration,
    TcpKeepalive,
    VirtualHost,
    gather,
)


def applied(mesh, address: Address, **cluster) -> None:
    action = RouteAction(cluster="reviews", timeout=0.0)
    host = VirtualHost(name="all", domains=("*",), routes=(Route(action=action),))
    table = RouteConfiguration(name="table", virtual_hosts=(host,))
    group = LocalityLbEndpoints(lb_endpoints=(Endpoint(address=address),))
    mesh.engine.apply(
        gather(
            listeners=[Listener(name="reviews:9080", http=HttpConnectionManager(routes=table))],
            clusters=[Cluster(name="reviews", **cluster)],
            endpoints=[ClusterLoadAssignment(cluster_name="reviews", endpoints=(group,))],
        )
    )


async def calls(session, url, number: int) -> None:
    for _ in range(number):
        async with session.get(url) as answer:
            assert await answer.text() == "a"


async def test_a_connection_takes_so_many_calls_and_no_more(mesh, servers, session, url):
    ports = []

    async def answer(request):
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(text="a")

    options = HttpProtocolOptions(max_requests_per_connection=2)
    applied(mesh, await servers.start(answer), http_protocol_options=options)
    await calls(session, url, 6)
    assert [ports.count(port) for port in dict.fromkeys(ports)] == [2, 2, 2]
    assert mesh.engine.clusters["reviews"].connections == {"made": 3}


async def test_a_connection_that_has_lasted_long_enough_is_not_used_again(
    mesh, servers, session, url
):
    ports = []

    async def answer(request):
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(text="a")

    options = HttpProtocolOptions(max_connection_duration=0.000_001)
    applied(mesh, await servers.start(answer), http_protocol_options=options)
    await calls(session, url, 3)
    assert len(set(ports)) == 3


async def test_an_idle_connection_is_closed_in_time(mesh, servers, session, url):
    closed = asyncio.Event()

    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na")
        await reader.read()
        closed.set()

    options = HttpProtocolOptions(idle_timeout=0.05)
    applied(mesh, await servers.raw(talk), http_protocol_options=options)
    await calls(session, url, 1)
    await closed.wait()


async def test_connections_are_probed_as_the_cluster_says(mesh, servers, session, url):
    keepalive = TcpKeepalive(keepalive_probes=3, keepalive_time=7, keepalive_interval=2)
    applied(mesh, await servers.named("a"), tcp_keepalive=keepalive)
    await calls(session, url, 1)
    ((protocol, _),) = next(iter(session.connector._conns.values()))
    raw = protocol.transport.get_extra_info("socket")
    assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    said = [
        raw.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPCNT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)
    ]
    assert said == [3, 7, 2]


@pytest.fixture
def deaf():
    """An address whose line is full: who connects hears nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            waiting.append(one)
        yield Address(*address)
        for one in waiting:
            one.close()


async def test_a_connection_that_does_not_come_about_in_time_is_a_failed_one(
    mesh, servers, session, url, deaf
):
    applied(mesh, deaf, connect_timeout=0.05)
    with pytest.raises(TimeoutError) as caught:
        await session.get(url)
    assert caught.value.mesh.flags == ("UF",)
    assert mesh.active == 0
    assert mesh.engine.clusters["reviews"].connections == {"failed": 1}
