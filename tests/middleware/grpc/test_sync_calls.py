"""Synchronous calls: futures, streams broken off, many threads, subscriptions."""

import gc
import threading

import grpc
import pytest

from meshlib import CallError
from meshlib.dataplane import Cause, Options
from meshlib.model import RetryBackOff, RetryPolicy

SOON = RetryBackOff(base_interval=0.001)


@pytest.fixture
def channel(world):
    with world.hooks.channel("reviews:9080") as made:
        yield made


def test_a_call_gives_its_response_and_itself(world, channel, start, echo):
    world.serve(start(echo()))
    response, call = channel.unary_unary("/test.Echo/Unary").with_call(b"x")
    assert response == b"one:x"
    assert call.code() is grpc.StatusCode.OK
    assert dict(call.initial_metadata())["served-by"] == "one"
    assert channel.stream_unary("/test.Echo/Up").with_call(iter([b"a"]))[0] == b"one:a"


@pytest.mark.parametrize("kind", ["unary_unary", "stream_unary"])
def test_a_future_is_on_its_way_at_once(world, until, channel, start, echo, kind):
    world.serve(start(echo()))
    message, method = (b"x", "Unary") if kind == "unary_unary" else (iter([b"x"]), "Up")
    future = getattr(channel, kind)(f"/test.Echo/{method}").future(message)
    told = threading.Event()
    future.add_done_callback(lambda _future: told.set())
    assert future.result(timeout=10) == b"one:x"
    assert told.wait(10)
    assert future.done()
    assert future.exception() is None
    assert future.code() is grpc.StatusCode.OK
    until(lambda: world.active == 0)


def test_a_future_is_retried(world, channel, start, echo):
    service = echo()
    service.failures = [(grpc.StatusCode.UNAVAILABLE, "warming up")] * 2
    policy = RetryPolicy(retry_on=("unavailable",), num_retries=2, retry_back_off=SOON)
    world.serve(start(service), retry=policy)
    assert channel.unary_unary("/test.Echo/Unary").future(b"x").result(timeout=10) == b"one:x"
    assert len(service.calls) == 3


@pytest.mark.parametrize("kind", ["unary_unary", "stream_unary"])
def test_a_future_finds_a_live_endpoint_among_dead_ones(
    world, channel, start, echo, dead_port, kind
):
    world.serve(dead_port(), start(echo()), dead_port())
    for _ in range(6):
        message, method = (b"x", "Unary") if kind == "unary_unary" else (iter([b"x"]), "Up")
        future = getattr(channel, kind)(f"/test.Echo/{method}").future(message)
        assert future.result(timeout=10) == b"one:x"


def test_a_future_without_endpoint_fails_as_a_call_does(world, channel, dead_port):
    world.serve(dead_port())
    future = channel.unary_unary("/test.Echo/Unary").future(b"x")
    error = future.exception(timeout=10)
    assert isinstance(error, CallError)
    assert future.code() is grpc.StatusCode.UNAVAILABLE
    assert error.mesh.flags == ("UF",)
    with pytest.raises(grpc.RpcError):
        future.result()


def test_a_cancelled_future_gives_its_permit_back(world, until, channel, start, echo):
    service = echo()
    world.serve(start(service))
    future = channel.unary_unary("/test.Echo/Hang").future(b"x")
    assert world.active == 1
    with pytest.raises(grpc.FutureTimeoutError):
        future.result(timeout=0)
    assert future.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        future.result()
    assert future.cancelled()
    until(lambda: world.active == 0)
    assert world.ended[-1].outcome.cause is Cause.CANCELLED


def test_a_future_that_waits_for_configuration_can_be_cancelled(make_world, until):
    world = make_world(options=Options())
    with world.hooks.channel("reviews:9080") as channel:
        future = channel.unary_unary("/test.Echo/Unary").future(b"x")
        until(lambda: world.wanted)
        assert future.cancel()
        assert future.code() is grpc.StatusCode.CANCELLED
        with pytest.raises(grpc.FutureCancelledError):
            future.result()


def test_breaking_out_of_a_stream_cancels_it(world, until, channel, start, echo):
    service = echo()
    world.serve(start(service))
    for _message in channel.unary_stream("/test.Echo/Forever")(b"x"):
        break
    gc.collect()
    assert service.cancelled.wait(10)
    until(lambda: world.active == 0)
    assert world.ended[-1].outcome.cause is Cause.CANCELLED


def test_a_stream_that_nobody_reads_gives_its_permit_back(world, until, channel, start, echo):
    world.serve(start(echo()))
    call = channel.unary_stream("/test.Echo/Forever")(b"x")
    assert world.active == 1
    del call
    gc.collect()
    until(lambda: world.active == 0)


def test_a_cancelled_stream_says_so(world, channel, start, echo):
    world.serve(start(echo()))
    call = channel.unary_stream("/test.Echo/Forever")(b"x")
    assert next(call) == b"x"
    ended = threading.Event()
    assert call.add_callback(ended.set)
    assert call.is_active()
    assert call.cancel()
    assert call.code() is grpc.StatusCode.CANCELLED
    assert ended.wait(10)
    assert world.active == 0


def test_the_end_of_a_stream_is_known_without_reading_it(world, channel, start, echo):
    service = echo()
    service.failures = [(grpc.StatusCode.NOT_FOUND, "no such thing")]
    world.serve(start(service))
    call = channel.unary_stream("/test.Echo/Down")(b"ab")
    assert call.code() is grpc.StatusCode.NOT_FOUND
    assert call.details() == "no such thing"


def test_questions_and_answers_take_turns(world, until, channel, start, echo):
    world.serve(start(echo()))
    turn = threading.Semaphore(0)

    def questions():
        for letter in (b"a", b"b"):
            turn.acquire()
            yield letter

    answers = channel.stream_stream("/test.Echo/Both")(questions())
    for letter in (b"a", b"b"):
        turn.release()
        assert next(answers) == b"one:" + letter
    assert list(answers) == []
    assert answers.code() is grpc.StatusCode.OK
    until(lambda: world.active == 0)


def test_the_requests_are_not_touched_before_there_is_a_connection(world, channel, dead_port):
    world.serve(dead_port(), dead_port())
    taken = []

    def requests():
        taken.append(1)
        yield b"a"

    with pytest.raises(grpc.RpcError):
        channel.stream_unary("/test.Echo/Up")(requests())
    with pytest.raises(grpc.RpcError):
        list(channel.stream_stream("/test.Echo/Both")(requests()))
    assert taken == []


def test_many_threads_share_one_channel(world, channel, start, echo):
    world.serve(start(echo("a")), start(echo("b")))
    method = channel.unary_unary("/test.Echo/Unary")
    answers = []

    def calls():
        answers.extend([method(b"x")[1:] for _ in range(25)])

    threads = [threading.Thread(target=calls) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b":x"] * 400
    assert len(world.ended) == 400
    assert world.active == 0


def test_a_channel_becomes_ready_when_an_endpoint_is(make_world, start, echo, dead_port):
    world = make_world(options=Options())
    with world.hooks.channel("reviews:9080") as channel:
        ready = grpc.channel_ready_future(channel)
        world.serve(dead_port(), start(echo()))
        ready.result(timeout=10)
    with pytest.raises(ValueError, match="closed"):
        channel.unary_unary("/test.Echo/Unary")(b"x")


def test_an_error_is_both_the_library_s_and_the_mesh_s(world, channel, dead_port):
    world.serve(dead_port())
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Echo/Unary")(b"x")
    error = caught.value
    assert isinstance(error, grpc.Call)
    assert isinstance(error, CallError)
    assert error.trailing_metadata() == ()
    assert not error.is_active()
    assert "host=reviews:9080" in str(error)


def test_a_forked_child_leaves_the_connections_to_its_parent(world, channel, start, echo):
    world.serve(start(echo()))
    method = channel.unary_unary("/test.Echo/Unary")
    assert method(b"x") == b"one:x"
    (parents,) = channel.offered()
    world.runtime.reset()
    assert method(b"x") == b"one:x"
    assert channel.offered()[0].channel is not parents.channel
