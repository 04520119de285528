"""What servers say with their status: another try, when, and to whom nothing is owed."""

import threading

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from meshlib.dataplane import AttemptFailed
from meshlib.model import HeaderMutations, HeaderValueOption, RetryBackOff, RetryPolicy

SOON = RetryBackOff(base_interval=0.001)
UNAVAILABLE = RetryPolicy(retry_on=("unavailable",), num_retries=2, retry_back_off=SOON)


class Refusing(grpc.GenericRpcHandler):
    """Fails so many calls with these trailers, and nothing else: "trailers only"."""

    def __init__(self, trailers, failures=1):
        self.trailers = trailers
        self.failures = failures
        self.calls = 0

    def service(self, details):
        kind = details.method.rpartition("/")[2]
        if kind == "Unary":
            return grpc.unary_unary_rpc_method_handler(self.unary)
        return grpc.unary_stream_rpc_method_handler(self.down)

    def unary(self, request, context):
        self.calls += 1
        if self.calls <= self.failures:
            context.set_trailing_metadata(self.trailers)
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return request

    def down(self, request, context):
        yield self.unary(request, context)


def retry_info(seconds: float) -> bytes:
    detail = Any()
    info = RetryInfo()
    info.retry_delay.FromMilliseconds(int(seconds * 1000))
    detail.Pack(info)
    return Status(code=14, message="not now", details=[detail]).SerializeToString()


@pytest.fixture
def slept(world):
    """The pauses that calls make, none of which lasts."""
    pauses = []

    async def asleep(seconds):
        pauses.append(seconds)

    world.runtime.sleep, world.runtime.asleep = pauses.append, asleep
    return pauses


async def test_a_status_in_trailers_alone_is_tried_again(world, unary_by, start, slept):
    server = Refusing(())
    world.serve(start(server), retry=UNAVAILABLE)
    assert await unary_by(world).unary() == b"x"
    assert server.calls == 2


async def test_a_stream_that_fails_before_its_first_message_is_tried_again(
    world, call_by, start, slept
):
    server = Refusing(())
    world.serve(start(server), retry=UNAVAILABLE)
    assert await call_by(world).down(b"x") == [b"x"]
    assert server.calls == 2


async def test_pushback_says_when(world, unary_by, start, slept):
    world.serve(start(Refusing((("grpc-retry-pushback-ms", "1234"),))), retry=UNAVAILABLE)
    assert await unary_by(world).unary() == b"x"
    assert slept == [1.234]


async def test_pushback_says_never(world, unary_by, start, slept):
    server = Refusing((("grpc-retry-pushback-ms", "-1"),))
    world.serve(start(server), retry=UNAVAILABLE)
    with pytest.raises(grpc.RpcError) as caught:
        await unary_by(world).unary()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert server.calls == 1


async def test_retry_info_is_waited_for(world, unary_by, start, slept):
    trailers = (("grpc-status-details-bin", retry_info(2.5)),)
    world.serve(start(Refusing(trailers)), retry=UNAVAILABLE)
    assert await unary_by(world).unary() == b"x"
    assert slept
    assert slept[0] >= 2.5


async def test_the_core_sees_text_trailers_in_lower_case(world, unary_by, start, slept):
    world.serve(start(Refusing((("why", "asked for"), ("more-bin", b"\0")))), retry=UNAVAILABLE)
    await unary_by(world).unary()
    failed = next(event for event in world.events if isinstance(event, AttemptFailed))
    assert failed.outcome.trailers == (("why", "asked for"),)


MORE = HeaderMutations(
    response_headers_to_add=(HeaderValueOption(name="x-mesh", value="yes"),),
    response_headers_to_remove=("served-by",),
)


async def test_response_headers_are_those_that_the_route_makes(world, callers, start, echo):
    world.serve(start(echo()), headers=MORE)
    aio = callers(world, "aio_channel").channel
    call = aio.unary_unary("/test.Echo/Unary")(b"x")
    assert await call == b"one:x"
    assert tuple(await call.initial_metadata()) == (("x-mesh", "yes"),)
    stream = aio.unary_stream("/test.Echo/Down")(b"ab")
    assert [answer async for answer in stream] == [b"one:a", b"one:b"]
    assert ("x-mesh", "yes") in tuple(await stream.initial_metadata())


def test_response_headers_are_those_that_the_route_makes_for_threads(world, start, echo):
    world.serve(start(echo()), headers=MORE)
    channel = world.hooks.channel("reviews:9080")
    method = channel.unary_unary("/test.Echo/Unary")
    assert method(b"x") == b"one:x"
    _, call = method.with_call(b"x")
    assert tuple(call.initial_metadata()) == (("x-mesh", "yes"),)
    future = method.future(b"x")
    assert future.result() == b"one:x"
    assert tuple(future.initial_metadata()) == (("x-mesh", "yes"),)
    stream = channel.unary_stream("/test.Echo/Down")(b"a")
    assert list(stream) == [b"one:a"]
    assert ("x-mesh", "yes") in tuple(stream.initial_metadata())


async def test_an_error_has_the_headers_that_the_route_makes(world, unary_by, start, echo):
    service = echo()
    service.failures = [(grpc.StatusCode.NOT_FOUND, "who?")]
    world.serve(start(service), headers=MORE)
    with pytest.raises(grpc.RpcError) as caught:
        await unary_by(world).unary()
    assert ("x-mesh", "yes") in tuple(caught.value.initial_metadata())


def test_headers_may_be_asked_from_another_thread(world, start, echo):
    world.serve(start(echo()), headers=MORE)
    future = world.hooks.channel("reviews:9080").unary_unary("/test.Echo/Unary").future(b"x")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(tuple(future.initial_metadata())))
    thread.start()
    thread.join()
    assert seen == [(("x-mesh", "yes"),)]
