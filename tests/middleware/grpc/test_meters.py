"""Octets and messages are counted alike on both sides, whatever kind of call it is."""

import asyncio
import threading

import grpc
import grpc.aio
import pytest

from meshlib.dataplane import Meter
from meshlib.middleware._grpc_meter import Outgoing
from meshlib.model import RetryPolicy

FRAME = 5


class Aio(grpc.GenericRpcHandler):
    """The echo of the synchronous server, on an event loop."""

    def service(self, details):
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Plain": grpc.unary_unary_rpc_method_handler(self.plain),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "PlainDown": grpc.unary_stream_rpc_method_handler(self.plain_down),
            "Written": grpc.unary_stream_rpc_method_handler(self.written),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Read": grpc.stream_stream_rpc_method_handler(self.read),
        }.get(details.method.rpartition("/")[2])

    async def unary(self, request, context):
        return b"one:" + request

    def plain(self, request, context):
        return b"one:" + request

    async def down(self, request, context):
        for letter in request:
            yield b"one:" + bytes([letter])

    def plain_down(self, request, context):
        for letter in request:
            yield b"one:" + bytes([letter])

    async def written(self, request, context):
        for letter in request:
            await context.write(b"one:" + bytes([letter]))

    async def up(self, requests, context):
        return b"one:" + b"".join([request async for request in requests])

    async def both(self, requests, context):
        async for request in requests:
            yield b"one:" + request

    async def read(self, requests, context):
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(b"one:" + request)


@pytest.fixture
async def aio_port(world):
    server = grpc.aio.server(interceptors=world.hooks.aio_server_interceptors())
    server.add_generic_rpc_handlers((Aio(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


def counted(event):
    meter = event.record.request.meter
    return (
        (meter.request_bytes, meter.request_messages),
        (meter.response_bytes, meter.response_messages),
    )


def sides(world):
    ended = world.ended
    return (
        [counted(event) for event in ended if event.record.inbound],
        [counted(event) for event in ended if not event.record.inbound],
    )


KINDS = {
    "unary": ((1 + FRAME, 1), (5 + FRAME, 1)),
    "down": ((2 + FRAME, 1), (2 * (5 + FRAME), 2)),
    "up": ((2 * (1 + FRAME), 2), (6 + FRAME, 1)),
    "both": ((2 * (1 + FRAME), 2), (2 * (5 + FRAME), 2)),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_both_sides_count_the_same(world, call_by, start, echo, auntil, kind):
    world.serve(start(echo(), interceptors=world.hooks.server_interceptors()))
    await getattr(call_by(world), kind)()
    await auntil(lambda: len(world.ended) == 2)
    assert sides(world) == ([KINDS[kind]], [KINDS[kind]])
    for event in world.ended:
        meter = event.record.request.meter
        assert meter.response_began <= event.record.started + event.duration
        assert meter.request_ended <= meter.response_began or kind == "both"


@pytest.mark.parametrize("kind", KINDS)
async def test_an_asyncio_server_counts_as_its_clients_do(world, call_by, aio_port, auntil, kind):
    world.serve(aio_port)
    await getattr(call_by(world), kind)()
    await auntil(lambda: len(world.ended) == 2)
    assert sides(world) == ([KINDS[kind]], [KINDS[kind]])


@pytest.mark.parametrize(
    ("style", "kind"),
    [("Plain", "unary"), ("PlainDown", "down"), ("Written", "down"), ("Read", "both")],
)
async def test_every_style_of_handler_is_counted(world, aio_port, auntil, style, kind):
    world.serve(aio_port)
    async with world.hooks.aio_channel("reviews:9080") as channel:
        if kind == "unary":
            assert await channel.unary_unary(f"/t.Echo/{style}")(b"x") == b"one:x"
        elif kind == "down":
            answers = channel.unary_stream(f"/t.Echo/{style}")(b"ab")
            assert [answer async for answer in answers] == [b"one:a", b"one:b"]
        else:
            answers = channel.stream_stream(f"/t.Echo/{style}")(iter((b"a", b"b")))
            assert [answer async for answer in answers] == [b"one:a", b"one:b"]
        await auntil(lambda: len(world.ended) == 2)
    assert sides(world) == ([KINDS[kind]], [KINDS[kind]])


async def test_what_counts_is_what_codecs_make_of_messages(world, aio_port, auntil):
    world.serve(aio_port)
    async with world.hooks.aio_channel("reviews:9080") as channel:
        method = channel.unary_unary("/t.Echo/Unary", str.encode, bytes.decode)
        assert await method("äöü") == "one:äöü"
        await auntil(lambda: len(world.ended) == 2)
    expected = ((6 + FRAME, 1), (10 + FRAME, 1))
    assert sides(world) == ([expected], [expected])


async def test_an_attempt_made_anew_counts_anew(world, unary_by, start, echo, auntil):
    service = echo()
    service.failures.extend([(grpc.StatusCode.UNAVAILABLE, "down")] * 2)
    port = start(service, interceptors=world.hooks.server_interceptors())
    world.serve(port, retry=RetryPolicy(retry_on=("unavailable",), num_retries=2))
    await unary_by(world).unary()
    await auntil(lambda: len(world.ended) == 4)
    once, none = KINDS["unary"], (KINDS["unary"][0], (0, 0))
    assert sides(world) == ([none, none, once], [once])


@pytest.mark.parametrize("verb", ["__call__", "with_call", "future"])
def test_callers_see_messages_and_nothing_else(world, start, echo, verb):
    world.serve(start(echo()))
    with world.hooks.channel("reviews:9080") as channel:
        answer = getattr(channel.unary_unary("/test.Echo/Unary"), verb)(b"x")
        if verb == "with_call":
            message, call = answer
            assert call.result() == call.result(1) == message
        else:
            message = answer.result() if verb == "future" else answer
    assert message == b"one:x"


def test_attempts_beside_each_other_count_as_one():
    meter = Meter()
    one, other = (Outgoing(meter, float, None, None) for _ in range(2))
    for attempt in (one, other):
        attempt.write(b"123")
    for attempt in (other, one):
        attempt.read(b"12345")
    assert (meter.request_messages, meter.request_bytes) == (1, 8)
    assert (meter.response_messages, meter.response_bytes) == (1, 10)


async def test_a_response_that_does_not_serialize_is_grpcios_to_tell(world, start, until, caplog):
    class Broken(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(self.unary, None, bytes.decode)

        def unary(self, request, context):
            if request == b"known":
                context.set_code(grpc.StatusCode.NOT_FOUND)
                context.set_details("nobody")

    port = start(Broken(), interceptors=world.hooks.server_interceptors())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/t.Broken/Unary")
        found = []
        for message in (b"x", b"known"):
            with pytest.raises(grpc.RpcError) as caught:
                await asyncio.to_thread(method, message)
            found.append((caught.value.code().name, caught.value.details()))
        until(lambda: len(world.ended) == 2)
    assert found == [("INTERNAL", "Failed to serialize response!"), ("NOT_FOUND", "nobody")]
    assert [event.outcome.grpc_status for event in world.ended] == [13, 5]


SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Unwritable(grpc.GenericRpcHandler):
    """Handlers of all kinds whose response no message can be made of."""

    def __init__(self, *, awaited: bool) -> None:
        self._awaited = awaited
        self.over = threading.Event()

    def service(self, details):
        shape = details.method.rpartition("/")[2]
        style = ("a" if self._awaited else "") + ("many" if shape.endswith("stream") else "one")
        make = getattr(grpc, f"{shape}_rpc_method_handler")
        return make(getattr(self, style), response_serializer=self.write)

    def write(self, _response):
        raise ValueError("no message")

    def one(self, _request, context):
        return "no bytes"

    def many(self, _request, context):
        """On an asyncio server it goes on by itself, whatever becomes of its messages."""
        yield "no bytes"
        self.over.wait(20)

    async def aone(self, _request, context):
        return "no bytes"

    async def amany(self, _request, context):
        yield "no bytes"


@pytest.fixture(params=["sync", "aio", "aio, handlers in threads"])
async def unwritable(request, world, start):
    """Two servers alike, one without the mesh; their ports."""
    if request.param == "sync":
        service = Unwritable(awaited=False)
        yield start(service), start(service, interceptors=world.hooks.server_interceptors())
        service.over.set()
        return
    service = Unwritable(awaited=request.param == "aio")
    bare = grpc.aio.server()
    meshed = grpc.aio.server(interceptors=world.hooks.aio_server_interceptors())
    for server in (bare, meshed):
        server.add_generic_rpc_handlers((service,))
    ports = [server.add_insecure_port("127.0.0.1:0") for server in (bare, meshed)]
    for server in (bare, meshed):
        await server.start()
    yield ports
    service.over.set()
    for server in (bare, meshed):
        await server.stop(None)


@pytest.mark.parametrize("shape", SHAPES)
async def test_what_callers_hear_of_an_unwritable_response_is_what_is_counted(
    world, unwritable, auntil, shape, caplog, capfd
):
    found = [await asyncio.to_thread(told, port, shape) for port in unwritable]
    assert found[0] == found[1]
    await auntil(lambda: world.ended)
    assert [event.outcome.grpc_status for event in world.ended] == [found[0][0].value[0]]


def told(port, shape):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = getattr(channel, shape)(f"/t.Unwritable/{shape}")
        asked = iter([b"x"]) if shape.startswith("stream") else b"x"
        with pytest.raises(grpc.RpcError) as caught:
            list(method(asked, timeout=20))
        return caught.value.code(), caught.value.details()
