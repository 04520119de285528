"""Filters and connections, over real sockets: faults, limits, and how long a connection lives."""

import asyncio

import grpc
import grpc.aio
import pytest

from meshlib.middleware.decorators import rate_limit
from meshlib.model import (
    ALWAYS,
    Fault,
    FaultAbort,
    FaultDelay,
    HttpFilter,
    HttpProtocolOptions,
    TcpKeepalive,
)


def fault(**what):
    return (HttpFilter(name="envoy.filters.http.fault", config=Fault(**what)),)


@pytest.fixture
def slept(world):
    pauses = []

    async def asleep(seconds):
        pauses.append(seconds)

    world.runtime.sleep, world.runtime.asleep = pauses.append, asleep
    return pauses


@pytest.mark.parametrize("kind", ["unary", "down", "up", "both"])
async def test_a_delay_comes_before_the_call(world, call_by, echo, start, slept, kind):
    service = echo()
    delay = FaultDelay(fixed_delay=3.0, percentage=ALWAYS)
    world.serve(start(service), filters=fault(delay=delay))
    assert await getattr(call_by(world), kind)()
    assert slept == [3.0]
    assert len(service.calls) == 1
    assert world.active == 0


@pytest.mark.parametrize("kind", ["unary", "down", "up", "both"])
async def test_an_abort_reaches_no_server(world, call_by, echo, start, kind):
    service = echo()
    abort = FaultAbort(grpc_status=10, percentage=ALWAYS)
    world.serve(start(service), filters=fault(abort=abort))
    with pytest.raises(grpc.RpcError) as caught:
        await getattr(call_by(world), kind)()
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert "FI" in caught.value.mesh.flags
    assert not service.calls


async def test_a_delayed_call_is_on_its_way_before_anybody_awaits_it(
    world, callers, auntil, echo, start, slept
):
    service = echo()
    delay = FaultDelay(fixed_delay=3.0, percentage=ALWAYS)
    world.serve(start(service), filters=fault(delay=delay))
    call = callers(world, "aio_channel").channel.unary_unary("/test.Echo/Unary")(b"x")
    await auntil(lambda: service.calls)
    assert await call == b"one:x"


class Limited(grpc.GenericRpcHandler):
    """Handlers of each kind that let one call an hour through."""

    def service(self, details):
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "Down": grpc.unary_stream_rpc_method_handler(down),
        }.get(details.method.rpartition("/")[2])


@rate_limit("1/h")
def unary(request, context):
    return request


@rate_limit("1/h")
def down(request, context):
    yield request


@rate_limit("1/h")
async def aunary(request, context):
    return request


@rate_limit("1/h")
async def adown(request, context):
    yield request


class AioLimited(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(aunary),
            "Down": grpc.unary_stream_rpc_method_handler(adown),
        }.get(details.method.rpartition("/")[2])


def assert_limited(error):
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "retry-after" in dict(error.trailing_metadata())


def test_a_limited_handler_answers_the_rest_itself(make_world, start):
    world = make_world()
    port = start(Limited(), interceptors=world.hooks.server_interceptors())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/test.Echo/Unary")
        assert method(b"x") == b"x"
        with pytest.raises(grpc.RpcError) as caught:
            method(b"x")
        assert_limited(caught.value)
        stream = channel.unary_stream("/test.Echo/Down")
        assert list(stream(b"x")) == [b"x"]
        with pytest.raises(grpc.RpcError) as caught:
            list(stream(b"x"))
        assert_limited(caught.value)


async def test_a_limited_handler_answers_the_rest_itself_on_an_event_loop(world):
    server = grpc.aio.server(interceptors=world.hooks.aio_server_interceptors())
    server.add_generic_rpc_handlers((AioLimited(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/test.Echo/Unary")
        assert await method(b"x") == b"x"
        with pytest.raises(grpc.RpcError) as caught:
            await method(b"x")
        assert_limited(caught.value)
        stream = channel.unary_stream("/test.Echo/Down")
        assert [answer async for answer in stream(b"x")] == [b"x"]
        with pytest.raises(grpc.RpcError) as caught:
            [answer async for answer in stream(b"x")]
        assert_limited(caught.value)
    await server.stop(None)


@pytest.mark.parametrize("kind", ["unary", "up", "both"])
async def test_a_connection_carries_so_many_calls_and_no_more(world, call_by, echo, start, kind):
    service = echo()
    options = HttpProtocolOptions(http2=True, max_requests_per_connection=2)
    world.serve(start(service), http_protocol_options=options)
    caller = call_by(world)
    for _ in range(6):
        await getattr(caller, kind)()
    peers = [service.calls.count(peer) for peer in dict.fromkeys(service.calls)]
    assert peers == [2, 2, 2]


async def test_a_replaced_connection_finishes_its_calls(world, callers, auntil, echo, start):
    service = echo()
    options = HttpProtocolOptions(http2=True, max_requests_per_connection=1)
    world.serve(start(service), http_protocol_options=options)
    channel = callers(world, "aio_channel").channel
    stream = channel.stream_stream("/test.Echo/Both")()
    await stream.write(b"a")
    assert await stream.read() == b"one:a"
    assert await channel.unary_unary("/test.Echo/Unary")(b"x") == b"one:x"
    await stream.write(b"b")
    assert await stream.read() == b"one:b"
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert len(set(service.calls)) == 2


async def test_an_endpoint_that_leaves_finishes_its_calls(world, callers, echo, start):
    old, new = echo("old"), echo("new")
    world.serve(start(old))
    channel = callers(world, "aio_channel").channel
    stream = channel.stream_stream("/test.Echo/Both")()
    await stream.write(b"a")
    assert await stream.read() == b"old:a"
    world.serve(start(new))
    assert await channel.unary_unary("/test.Echo/Unary")(b"x") == b"new:x"
    await stream.write(b"b")
    assert await stream.read() == b"old:b"
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


def test_connections_are_probed_as_the_cluster_says(world, start, echo):
    dialled = []
    probes = TcpKeepalive(keepalive_time=30, keepalive_interval=2, keepalive_probes=3)
    idle = HttpProtocolOptions(http2=True, idle_timeout=60.0)
    world.serve(start(echo()), tcp_keepalive=probes, http_protocol_options=idle)
    channel = world.hooks.channel("reviews:9080")
    dial, channel._pool._dial = channel._pool._dial, lambda *how: dialled.append(how) or dial(*how)
    assert channel.unary_unary("/test.Echo/Unary")(b"x") == b"one:x"
    options = dict(dialled[0][1])
    assert options["grpc.keepalive_time_ms"] == 30_000
    assert options["grpc.keepalive_timeout_ms"] == 6_000
    assert options["grpc.client_idle_timeout_ms"] == 60_000


async def test_many_calls_at_once_replace_connections_without_losing_any(
    world, callers, echo, start
):
    service = echo()
    options = HttpProtocolOptions(http2=True, max_requests_per_connection=3)
    world.serve(start(service), http_protocol_options=options)
    method = callers(world, "aio_channel").channel.unary_unary("/test.Echo/Unary")
    answers = await asyncio.gather(*(method(b"x") for _ in range(30)))
    assert answers == [b"one:x"] * 30
    assert max(service.calls.count(peer) for peer in service.calls) <= 3
