"""Call objects on event loops: cancelled, dropped, broken off, asked, shared, on several loops."""

import asyncio
import gc
import threading

import grpc
import grpc.aio
import pytest

from meshlib.dataplane import Cause, Options
from meshlib.model import RetryBackOff, RetryPolicy

SOON = RetryBackOff(base_interval=0.001)


@pytest.fixture
async def channel(world):
    made = world.hooks.aio_channel("reviews:9080")
    yield made
    await made.close()


def last_cause(world):
    return getattr(world.ended[-1].outcome, "cause", None)


async def test_a_call_is_on_its_way_before_anybody_awaits_it(world, auntil, channel, start, echo):
    service = echo()
    world.serve(start(service))
    call = channel.unary_unary("/test.Echo/Unary")(b"x")
    await auntil(lambda: service.calls)
    assert await call == b"one:x"
    assert await call == b"one:x"


async def test_what_is_fired_and_forgotten_arrives_and_gives_its_permit_back(
    world, auntil, channel, start, echo
):
    service = echo()
    world.serve(start(service))
    channel.unary_unary("/test.Echo/Unary")(b"x")
    await auntil(lambda: service.calls)
    gc.collect()
    assert world.active == 0


async def test_a_cancelled_task_cancels_the_call(world, auntil, channel, start, echo):
    service = echo()
    world.serve(start(service))
    task = asyncio.ensure_future(channel.unary_unary("/test.Echo/Hang")(b"x"))
    await auntil(lambda: service.calls)
    assert world.active == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.active == 0
    assert last_cause(world) is Cause.CANCELLED
    await asyncio.to_thread(service.cancelled.wait)


async def test_cancel_from_elsewhere_wakes_the_awaiting_task(world, auntil, channel, start, echo):
    service = echo()
    world.serve(start(service))
    call = channel.unary_unary("/test.Echo/Hang")(b"x")

    async def awaiting():
        return await call

    task = asyncio.create_task(awaiting())
    await auntil(lambda: service.calls)
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert call.cancelled()
    assert call.done()
    assert not call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert world.active == 0


async def test_cancel_before_anybody_awaits_gives_the_permit_back(world, channel, start, echo):
    world.serve(start(echo()))
    call = channel.unary_unary("/test.Echo/Hang")(b"x")
    assert call.cancel()
    assert world.active == 0
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_dropped_call_gives_its_permit_back(world, channel, start, echo):
    world.serve(start(echo()))
    call = channel.unary_unary("/test.Echo/Hang")(b"x", timeout=5)
    assert world.active == 1
    del call
    gc.collect()
    assert world.active == 0


async def test_breaking_out_of_a_stream_cancels_it(world, auntil, channel, start, echo):
    service = echo()
    world.serve(start(service))
    async for _message in channel.unary_stream("/test.Echo/Forever")(b"x"):
        break
    await asyncio.to_thread(service.cancelled.wait)
    await auntil(lambda: world.active == 0)
    assert last_cause(world) is Cause.CANCELLED


@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream", "stream_unary"])
async def test_a_dropped_stream_is_cancelled(world, auntil, channel, start, echo, kind):
    world.serve(start(echo()))
    await channel.unary_unary("/test.Echo/Unary")(b"x")
    method = {"unary_stream": "Forever", "stream_stream": "Both", "stream_unary": "Up"}[kind]
    arguments = (b"x",) if kind == "unary_stream" else ()
    call = getattr(channel, kind)(f"/test.Echo/{method}")(*arguments)
    assert world.active == 1
    del call
    gc.collect()
    await auntil(lambda: world.active == 0)


async def test_a_call_can_be_asked_instead_of_awaited(world, channel, start, echo):
    world.serve(start(echo()))
    method = channel.unary_unary("/test.Echo/Unary")
    call = method(b"x", timeout=9)
    assert await call.code() is grpc.StatusCode.OK
    assert dict(await call.initial_metadata())["served-by"] == "one"
    assert await call.details() == ""
    assert list(await call.trailing_metadata()) == []
    assert 0 < call.time_remaining() <= 9
    assert call.done()
    assert await call == b"one:x"
    await method(b"y").wait_for_connection()
    assert world.active == 0


async def test_done_callbacks_are_told_without_anybody_awaiting(world, channel, start, echo):
    world.serve(start(echo()))
    told = asyncio.Event()
    channel.unary_unary("/test.Echo/Unary")(b"x").add_done_callback(lambda _call: told.set())
    await told.wait()
    streamed = asyncio.Event()
    call = channel.unary_stream("/test.Echo/Down")(b"ab")
    call.add_done_callback(lambda _call: streamed.set())
    assert [message async for message in call] == [b"one:a", b"one:b"]
    await streamed.wait()


async def test_several_tasks_may_await_one_call(world, channel, start, echo):
    world.serve(start(echo()))
    call = channel.unary_unary("/test.Echo/Unary")(b"x")

    async def awaiting():
        return await call

    assert await asyncio.gather(*(awaiting() for _ in range(3))) == [b"one:x"] * 3


async def test_a_retry_goes_on_while_somebody_only_asks_for_the_code(world, channel, start, echo):
    service = echo()
    service.failures = [(grpc.StatusCode.UNAVAILABLE, "warming up")] * 2
    policy = RetryPolicy(retry_on=("unavailable",), num_retries=2, retry_back_off=SOON)
    world.serve(start(service), retry=policy)
    assert await channel.unary_unary("/test.Echo/Unary")(b"x").code() is grpc.StatusCode.OK
    assert len(service.calls) == 3


async def test_waiting_for_configuration_can_be_cancelled(make_world, auntil):
    world = make_world(options=Options())
    async with world.hooks.aio_channel("reviews:9080") as channel:
        task = asyncio.ensure_future(channel.unary_unary("/test.Echo/Unary")(b"x"))
        await auntil(lambda: world.wanted)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert last_cause(world) is Cause.CANCELLED


async def test_messages_can_be_read_and_written_one_by_one(world, channel, start, echo):
    world.serve(start(echo()))
    call = channel.stream_stream("/test.Echo/Both")()
    for letter in (b"a", b"b"):
        await call.write(letter)
        assert await call.read() == b"one:" + letter
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    collected = channel.stream_unary("/test.Echo/Up")()
    await collected.write(b"a")
    await collected.done_writing()
    assert await collected == b"one:a"
    assert world.active == 0


async def test_the_two_ways_to_read_may_not_be_mixed(world, channel, start, echo):
    world.serve(start(echo()))
    call = channel.unary_stream("/test.Echo/Down")(b"ab")
    await call.read()
    with pytest.raises(grpc.aio.UsageError):
        aiter(call)


async def test_headers_that_were_shown_bind_a_stream_to_its_attempt(world, channel, start):
    served = []

    class Hesitant(grpc.GenericRpcHandler):
        def service(self, details):
            def down(request, context):
                served.append(request)
                context.send_initial_metadata((("attempt", str(len(served))),))
                shown.wait(30)
                context.abort(grpc.StatusCode.UNAVAILABLE, "after headers")

            return grpc.unary_stream_rpc_method_handler(down)

    shown = threading.Event()
    world.serve(start(Hesitant()), retry=RetryPolicy(retry_on=("unavailable",)))
    call = channel.unary_stream("/test.Hesitant/Down")(b"x")
    assert dict(await call.initial_metadata())["attempt"] == "1"
    shown.set()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.details() == "after headers"
    assert len(served) == 1
    assert world.active == 0


async def test_calls_on_an_endpoint_that_left_run_to_their_end(world, channel, start, echo):
    old, new = echo("old"), echo("new")
    world.serve(start(old))
    call = channel.stream_stream("/test.Echo/Both")()
    await call.write(b"a")
    assert await call.read() == b"old:a"
    world.serve(start(new))
    assert await channel.unary_unary("/test.Echo/Unary")(b"x") == b"new:x"
    gc.collect()
    await call.write(b"b")
    assert await call.read() == b"old:b"
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_channel_that_left_is_closed_when_its_calls_have_ended(world, channel, start, echo):
    world.serve(start(echo("old")))
    await channel.unary_unary("/test.Echo/Unary")(b"x")
    _loop, pool = channel.place()
    (old,) = pool.members
    native = old.channel
    del old
    world.serve(start(echo("new")))
    await channel.unary_unary("/test.Echo/Unary")(b"x")
    assert native not in [member.channel for member in pool.members]


async def test_a_channel_becomes_ready_when_an_endpoint_is(make_world, start, echo, dead_port):
    world = make_world(options=Options())
    async with world.hooks.aio_channel("reviews:9080") as channel:
        assert channel.get_state() is grpc.ChannelConnectivity.IDLE
        ready = asyncio.create_task(channel.channel_ready())
        await asyncio.sleep(0)
        world.serve(dead_port(), start(echo()))
        await ready
        assert channel.get_state() is grpc.ChannelConnectivity.READY
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
    with pytest.raises(grpc.aio.UsageError):
        channel.unary_unary("/test.Echo/Unary")(b"x")


def test_one_channel_serves_several_event_loops(world, start, echo):
    world.serve(start(echo()))
    channel = world.hooks.aio_channel("reviews:9080")
    method = channel.unary_unary("/test.Echo/Unary")
    both_in = threading.Barrier(2)
    answers = []

    async def calls():
        await asyncio.to_thread(both_in.wait)
        answers.extend([await method(b"x") for _ in range(20)])

    threads = [threading.Thread(target=lambda: asyncio.run(calls())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"one:x"] * 40
    assert world.active == 0


def test_a_channel_outlives_its_event_loops(world, start, echo):
    world.serve(start(echo()))
    channel = world.hooks.aio_channel("reviews:9080")
    method = channel.unary_unary("/test.Echo/Unary")

    async def one():
        return await method(b"x")

    assert [asyncio.run(one()) for _ in range(3)] == [b"one:x"] * 3
