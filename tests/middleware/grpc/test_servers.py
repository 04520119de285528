"""Server hooks: every kind of handler is served, counted and hands on what it received."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import grpc
import grpc.aio
import pytest

from meshlib.dataplane import Cause

RECEIVED: ContextVar[tuple] = ContextVar("received", default=())


class Handing:
    """A propagation that hands on one header."""

    def receive(self, request):
        return RECEIVED.set(tuple(pair for pair in request.headers if pair[0] == "x-trace"))

    def release(self, token):
        RECEIVED.reset(token)

    def outgoing(self, *, foreign=False):
        return RECEIVED.get()

    def begin(self, request, *, foreign=False):
        pass


@pytest.fixture
def handing(make_world):
    return make_world(propagation=Handing())


class Aio(grpc.GenericRpcHandler):
    """The same service as handlers for asyncio, each in another style."""

    def __init__(self) -> None:
        self.seen: list[tuple] = []
        self.abort = False

    def service(self, details):
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Written": grpc.unary_stream_rpc_method_handler(self.written),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Plain": grpc.unary_unary_rpc_method_handler(self.plain),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "Endless": grpc.unary_stream_rpc_method_handler(self.endless),
        }.get(details.method.rpartition("/")[2])

    async def unary(self, request, context):
        self.seen.append(RECEIVED.get())
        if self.abort:
            await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        if request == b"raise":
            raise ValueError(request)
        return request

    async def down(self, request, context):
        for letter in request:
            self.seen.append(RECEIVED.get())
            yield bytes([letter])

    async def written(self, request, context):
        for letter in request:
            await context.write(bytes([letter]))

    async def up(self, requests, context):
        return b"".join([request async for request in requests])

    async def both(self, requests, context):
        async for request in requests:
            yield request

    def plain(self, request, context):
        self.seen.append(RECEIVED.get())
        if self.abort:
            context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        return request

    async def hang(self, request, context):
        self.seen.append(())
        await asyncio.Event().wait()

    async def endless(self, request, context):
        self.seen.append(())
        while True:
            yield request


@pytest.fixture
async def aio_start():
    servers = []

    async def make(handler, interceptors) -> int:
        server = grpc.aio.server(interceptors=interceptors)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return port

    yield make
    for server in servers:
        await server.stop(None)


def statuses(world):
    return [getattr(event.outcome, "grpc_status", None) for event in world.ended]


def test_every_kind_of_handler_is_served(world, until, start, echo):
    port = start(echo(), interceptors=world.hooks.server_interceptors())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert channel.unary_unary("/test.Echo/Unary")(b"x") == b"one:x"
        assert list(channel.unary_stream("/test.Echo/Down")(b"ab")) == [b"one:a", b"one:b"]
        assert channel.stream_unary("/test.Echo/Up")(iter([b"a", b"b"])) == b"one:ab"
        both = channel.stream_stream("/test.Echo/Both")(iter([b"a"]))
        assert list(both) == [b"one:a"]
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/test.Echo/Unknown")(b"x")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    until(lambda: len(world.ended) == 4)
    assert statuses(world) == [0, 0, 0, 0]
    assert all(event.record.inbound for event in world.ended)
    assert {event.record.request.path for event in world.ended} >= {"/test.Echo/Unary"}


@pytest.mark.parametrize("method", ["unary_unary", "unary_stream"])
def test_an_abort_is_told_as_the_handler_said_it(world, until, start, echo, method):
    service = echo()
    service.failures = [(grpc.StatusCode.NOT_FOUND, "no such thing")]
    port = start(service, interceptors=world.hooks.server_interceptors())
    name = {"unary_unary": "Unary", "unary_stream": "Down"}[method]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            list(getattr(channel, method)(f"/test.Echo/{name}")(b"x"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "no such thing"
    until(lambda: world.ended)
    assert statuses(world) == [5]


def test_a_caller_that_went_away_is_told_as_cancelled(world, until, start, echo):
    service = echo()
    port = start(service, interceptors=world.hooks.server_interceptors())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream("/test.Echo/Forever")(b"x")
        next(call)
        call.cancel()
        until(lambda: world.ended)
    assert world.ended[0].outcome.cause is Cause.CANCELLED


def test_what_was_received_goes_out_with_the_calls_of_the_handler(handing, start, echo):
    behind = echo("behind")
    handing.serve(start(behind))
    with handing.hooks.channel("reviews:9080") as onward:
        ask = onward.unary_unary("/test.Echo/Unary")

        class Front(grpc.GenericRpcHandler):
            def service(self, details):
                def unary(request, context):
                    return ask(request)

                def down(request, context):
                    for _ in range(2):
                        yield ask(request, metadata=(("x-own", "1"),))

                if details.method.endswith("Down"):
                    return grpc.unary_stream_rpc_method_handler(down)
                return grpc.unary_unary_rpc_method_handler(unary)

        port = start(Front(), interceptors=handing.hooks.server_interceptors())
        trace = (("x-trace", "t1"),)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            channel.unary_unary("/test.Front/Unary")(b"x", metadata=trace)
            list(channel.unary_stream("/test.Front/Down")(b"x", metadata=trace))
            channel.unary_unary("/test.Front/Unary")(b"x")
    sent = [dict(metadata) for metadata in behind.metadata]
    assert [metadata.get("x-trace") for metadata in sent] == ["t1", "t1", "t1", None]
    assert [metadata.get("x-own") for metadata in sent] == [None, "1", "1", None]


def test_a_header_that_the_caller_set_himself_wins(handing, start, echo):
    service = echo()
    handing.serve(start(service))
    token = RECEIVED.set((("x-trace", "received"),))
    with handing.hooks.channel("reviews:9080") as channel:
        channel.unary_unary("/test.Echo/Unary")(b"x", metadata=(("x-trace", "own"),))
    RECEIVED.reset(token)
    values = [value for key, value in service.metadata[0] if key == "x-trace"]
    assert values == ["own"]


def test_a_handler_is_wrapped_once(world):
    (interceptor,) = world.hooks.server_interceptors()
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)

    class Details:
        method = "/test.Echo/Unary"
        invocation_metadata = ()

    first = interceptor.intercept_service(lambda _details: handler, Details)
    assert interceptor.intercept_service(lambda _details: handler, Details) is first
    other = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    assert interceptor.intercept_service(lambda _details: other, Details) is not first
    assert interceptor.intercept_service(lambda _details: None, Details) is None


async def test_every_kind_of_asyncio_handler_is_served(handing, auntil, aio_start):
    service = Aio()
    port = await aio_start(service, handing.hooks.aio_server_interceptors())
    trace = (("x-trace", "t1"),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for name in ("Unary", "Plain"):
            assert await channel.unary_unary(f"/t.Aio/{name}")(b"x", metadata=trace) == b"x"
        for name in ("Down", "Written"):
            call = channel.unary_stream(f"/t.Aio/{name}")(b"ab", metadata=trace)
            assert [message async for message in call] == [b"a", b"b"]
        assert await channel.stream_unary("/t.Aio/Up")(iter([b"a", b"b"])) == b"ab"
        both = channel.stream_stream("/t.Aio/Both")(iter([b"a"]))
        assert [message async for message in both] == [b"a"]
    await auntil(lambda: len(handing.ended) == 6)
    assert statuses(handing) == [0] * 6
    assert service.seen == [(("x-trace", "t1"),)] * 4


async def test_what_an_asyncio_handler_raises_is_told(world, auntil, aio_start, caplog):
    service = Aio()
    port = await aio_start(service, world.hooks.aio_server_interceptors())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/t.Aio/Unary")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(b"raise")
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
        service.abort = True
        for aborting in (method, channel.unary_unary("/t.Aio/Plain")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await aborting(b"x")
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    await auntil(lambda: len(world.ended) == 3)
    assert statuses(world) == [2, 5, 5]


@pytest.mark.parametrize(("kind", "name"), [("unary_unary", "Hang"), ("unary_stream", "Endless")])
async def test_an_asyncio_caller_that_went_away_is_told_as_cancelled(
    world, auntil, aio_start, kind, name
):
    service = Aio()
    port = await aio_start(service, world.hooks.aio_server_interceptors())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = getattr(channel, kind)(f"/t.Aio/{name}")(b"x")
        await auntil(lambda: service.seen)
        call.cancel()
        await auntil(lambda: world.ended)
    assert world.ended[0].outcome.cause is Cause.CANCELLED


def test_a_port_is_chosen_where_none_is_named(world, echo):
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((echo(),))
    port = world.hooks.add_port(server, "127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert channel.unary_unary("/test.Echo/Unary")(b"x") == b"one:x"
    server.stop(None).wait()
