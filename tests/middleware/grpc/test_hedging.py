"""Attempts beside each other, over real connections: who wins, and what becomes of the others."""

import asyncio
import threading

import grpc
import pytest

from meshlib.dataplane import Cause
from meshlib.model import HedgePolicy, RetryBackOff, RetryPolicy

SOON = RetryBackOff(base_interval=0.001)
AT_ONCE = {"hedge_policy": HedgePolicy(initial_requests=2)}


@pytest.fixture
def pair(echo, start):
    """A slow server, and a quick one that answers once the slow one was asked."""
    slow, quick = echo("slow"), echo("quick")
    slow.is_slow = True
    quick.after = slow.asked
    return slow, quick, (start(slow), start(quick))


async def test_the_quicker_of_two_attempts_wins_and_the_other_is_cancelled(
    world, unary_by, auntil, pair
):
    slow, quick, ports = pair
    world.serve(*ports, action=AT_ONCE)
    assert await unary_by(world).unary() == b"quick:x"
    assert len(quick.calls) == 1
    await asyncio.to_thread(slow.cancelled.wait)
    await auntil(lambda: world.active == 0)
    assert world.ended[-1].record.attempts == 2
    assert world.ended[-1].record.endpoint.address.port == ports[1]
    meter = world.ended[-1].record.request.meter
    assert (meter.request_messages, meter.request_bytes) == (1, 6)
    assert (meter.response_messages, meter.response_bytes) == (1, 12)


async def test_another_attempt_begins_where_one_takes_too_long(world, unary_by, auntil, pair):
    slow, _quick, ports = pair
    policy = RetryPolicy(
        retry_on=("reset",), num_retries=3, per_try_timeout=0.05, previous_hosts=True
    )
    hedge = HedgePolicy(hedge_on_per_try_timeout=True)
    world.serve(*ports, retry=policy, action={"hedge_policy": hedge})
    caller = unary_by(world)
    answers = [await caller.unary() for _ in range(2)]
    assert answers == [b"quick:x"] * 2
    assert slow.calls
    await auntil(lambda: world.active == 0)


async def test_a_failed_attempt_leaves_the_call_to_the_other(world, unary_by, auntil, echo, start):
    bad, good = echo("bad"), echo("good")
    bad.failures = [(grpc.StatusCode.UNAVAILABLE, "not me")] * 20
    world.serve(start(bad), start(good), action=AT_ONCE)
    caller = unary_by(world)
    assert [await caller.unary() for _ in range(4)] == [b"good:x"] * 4
    await auntil(lambda: world.active == 0)


async def test_where_all_attempts_fail_the_caller_sees_what_one_of_them_saw(
    world, unary_by, echo, start
):
    bad, worse = echo("bad"), echo("worse")
    for server in (bad, worse):
        server.failures = [(grpc.StatusCode.UNAVAILABLE, "not me")] * 20
    world.serve(start(bad), start(worse), action=AT_ONCE)
    with pytest.raises(grpc.RpcError) as caught:
        await unary_by(world).unary()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert caught.value.details() == "not me"
    assert ("why", "asked for") in tuple(caught.value.trailing_metadata())
    assert world.active == 0


async def test_a_deadline_ends_all_attempts(world, unary_by, auntil, pair, echo, start):
    slow, _, ports = pair
    world.serve(ports[0], action=AT_ONCE)
    with pytest.raises(grpc.RpcError) as caught:
        await unary_by(world).unary(timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await auntil(lambda: slow.cancelled.is_set() or not slow.calls)
    await auntil(lambda: world.active == 0)


async def test_a_cancelled_call_cancels_all_its_attempts(world, callers, auntil, pair, echo, start):
    slow, _, ports = pair
    world.serve(ports[0], action=AT_ONCE)
    channel = callers(world, "aio_channel").channel
    task = asyncio.ensure_future(channel.unary_unary("/test.Echo/Unary")(b"x"))
    await auntil(lambda: slow.calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(slow.cancelled.wait)
    await auntil(lambda: world.active == 0)
    assert world.ended[-1].outcome.cause is Cause.CANCELLED


async def test_a_cancelled_future_cancels_all_its_attempts(world, callers, auntil, pair):
    slow, _, ports = pair
    world.serve(ports[0], action=AT_ONCE)
    channel = callers(world, "future").channel
    future = channel.unary_unary("/test.Echo/Unary").future(b"x")
    await auntil(lambda: slow.calls)
    assert future.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        future.result()
    await asyncio.to_thread(slow.cancelled.wait)
    await auntil(lambda: world.active == 0)


@pytest.mark.parametrize("kind", ["down", "up", "both"])
async def test_streams_are_made_by_one_attempt(world, call_by, echo, start, kind):
    service = echo()
    world.serve(start(service), action=AT_ONCE)
    assert await getattr(call_by(world), kind)()
    assert len(service.calls) == 1


async def test_the_winner_is_asked_for_status_and_metadata(world, callers, pair):
    world.serve(*pair[2], action=AT_ONCE)
    call = callers(world, "aio_channel").channel.unary_unary("/test.Echo/Unary")(b"x")
    assert await call == b"quick:x"
    assert await call.code() is grpc.StatusCode.OK
    assert ("served-by", "quick") in tuple(await call.initial_metadata())
    channel = callers(world, "channel").channel
    method = channel.unary_unary("/test.Echo/Unary")
    answer, ended = await asyncio.to_thread(method.with_call, b"y")
    assert answer == b"quick:y"
    assert ended.code() is grpc.StatusCode.OK
    assert ("served-by", "quick") in tuple(ended.initial_metadata())


def test_many_threads_race_at_once(world, pair, until):
    world.serve(*pair[2], action=AT_ONCE)
    method = world.hooks.channel("reviews:9080").unary_unary("/test.Echo/Unary")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(method(b"x"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"quick:x"] * 3
    until(lambda: world.active == 0)
