"""The deadline of a call that is served bounds the calls made meanwhile: A calls B calls C."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
import pytest

from meshlib.middleware._deadline import INCOMING
from meshlib.telemetry.threads import install, uninstall


class Last(grpc.GenericRpcHandler):
    """The end of the chain: notes how much time it is given."""

    def __init__(self):
        self.left = []

    def service(self, details):
        kind = details.method.rpartition("/")[2]
        if kind == "Unary":
            return grpc.unary_unary_rpc_method_handler(self.unary)
        return grpc.unary_stream_rpc_method_handler(self.down)

    def unary(self, request, context):
        left = context.time_remaining()
        self.left.append(None if left is None or left > 1e9 else left)
        return request

    def down(self, request, context):
        yield self.unary(request, context)


class Middle(grpc.GenericRpcHandler):
    """Calls the last while it serves, with the time-out that it is asked for."""

    def __init__(self, call):
        self.call = call

    def service(self, details):
        kind = details.method.rpartition("/")[2]
        if kind == "Unary":
            return grpc.unary_unary_rpc_method_handler(self.unary)
        return grpc.unary_stream_rpc_method_handler(self.down)

    def unary(self, request, context):
        return self.call(float(request) or None)

    def down(self, request, context):
        yield self.unary(request, context)


class AioMiddle(Middle):
    async def unary(self, request, context):
        return await self.call(float(request) or None)

    async def down(self, request, context):
        yield await self.unary(request, context)


@pytest.fixture
def last(world, start):
    service = Last()
    world.serve(start(service))
    return service


@pytest.fixture(params=["Unary", "Down"])
def chain(request, world, last, start):
    """Call the middle, which calls the last one by the mesh."""
    method = world.hooks.channel("reviews:9080").unary_unary("/test.Echo/Unary")
    middle = Middle(lambda timeout: method(b"x", timeout=timeout))
    port = start(middle, interceptors=world.hooks.server_interceptors())
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def call(own: float, timeout: float | None) -> float | None:
        if request.param == "Unary":
            channel.unary_unary("/test.Echo/Unary")(str(own).encode(), timeout=timeout)
        else:
            list(channel.unary_stream("/test.Echo/Down")(str(own).encode(), timeout=timeout))
        return last.left[-1]

    yield call
    channel.close()


def test_the_earlier_deadline_holds(chain):
    assert chain(0, None) is None
    assert 50 < chain(0, 60) < 61
    assert 50 < chain(600, 60) < 61
    assert 20 < chain(30, 60) < 31


def test_who_does_not_want_it_is_left_alone(world, chain):
    world.runtime.propagate_deadlines = False
    assert chain(0, 60) is None


@pytest.mark.parametrize("kind", ["Unary", "Down"])
async def test_the_earlier_deadline_holds_on_event_loops(world, last, kind):
    method = world.hooks.aio_channel("reviews:9080").unary_unary("/test.Echo/Unary")

    async def made(own):
        return await method(b"x", timeout=own)

    server = grpc.aio.server(interceptors=world.hooks.aio_server_interceptors())
    server.add_generic_rpc_handlers((AioMiddle(made),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for own, timeout in ((b"0", None), (b"0", 60), (b"600", 60), (b"30", 60)):
            if kind == "Unary":
                await channel.unary_unary("/test.Echo/Unary")(own, timeout=timeout)
            else:
                stream = channel.unary_stream("/test.Echo/Down")(own, timeout=timeout)
                assert [answer async for answer in stream] == [b"x"]
    await server.stop(None)
    await world.hooks.aclose()
    assert last.left[0] is None
    assert 50 < last.left[1] < 61
    assert 50 < last.left[2] < 61
    assert 20 < last.left[3] < 31


def test_no_time_left_is_no_call(world, last, start):
    """What is over is over for those it called, too: not a byte of it is sent."""
    codes = []
    method = world.hooks.channel("reviews:9080").unary_unary("/test.Echo/Unary")

    def call(timeout):
        INCOMING.get().deadline = 0.0
        with pytest.raises(grpc.RpcError) as caught:
            method(b"x")
        codes.append(caught.value.code())
        return b""

    port = start(Middle(call), interceptors=world.hooks.server_interceptors())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        channel.unary_unary("/test.Echo/Unary")(b"0", timeout=60)
    assert codes == [grpc.StatusCode.DEADLINE_EXCEEDED]
    assert not last.left


def test_threads_inherit_it_and_what_runs_on_after_the_call_does_not(world, last, start):
    method = world.hooks.channel("reviews:9080").unary_unary("/test.Echo/Unary")
    served = threading.Event()
    later = []

    def afterwards():
        served.wait(10)
        method(b"x")

    def call(timeout):
        with ThreadPoolExecutor(1) as threads:
            threads.submit(method, b"x").result()
        later.append(threading.Thread(target=afterwards))
        later[0].start()
        return b""

    install(INCOMING)
    try:
        port = start(Middle(call), interceptors=world.hooks.server_interceptors())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            channel.unary_unary("/test.Echo/Unary")(b"0", timeout=60)
        served.set()
        later[0].join()
    finally:
        uninstall()
    assert 50 < last.left[0] < 61
    assert last.left[1] is None


async def test_tasks_that_outlive_the_call_have_no_deadline(world, last):
    method = world.hooks.aio_channel("reviews:9080").unary_unary("/test.Echo/Unary")
    served, tasks = asyncio.Event(), []

    async def afterwards():
        await served.wait()
        await method(b"x")

    async def call(own):
        tasks.append(asyncio.create_task(afterwards()))
        return b""

    server = grpc.aio.server(interceptors=world.hooks.aio_server_interceptors())
    server.add_generic_rpc_handlers((AioMiddle(call),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.unary_unary("/test.Echo/Unary")(b"0", timeout=60)
    served.set()
    await tasks[0]
    await server.stop(None)
    await world.hooks.aclose()
    assert last.left == [None]
