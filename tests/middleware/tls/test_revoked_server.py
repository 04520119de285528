"""A server that is revoked loses the calls that are under way to it."""

import asyncio
import threading
from concurrent import futures

import aiohttp
import grpc
import pytest
from aiohttp import web

REVOKED = "the server's certificate is revoked"
SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Waiting(grpc.GenericRpcHandler):
    """Begins to answer, if it may, and never ends. Each call that got here is counted."""

    def __init__(self, shape: str) -> None:
        self.entered = threading.Semaphore(0)

        async def once(_request, _context):
            self.entered.release()
            await asyncio.Event().wait()

        async def many(_request, _context):
            self.entered.release()
            yield b"first"
            await asyncio.Event().wait()

        behaviour = many if shape.endswith("stream") else once
        self._handler = getattr(grpc, f"{shape}_rpc_method_handler")(behaviour)

    def service(self, details):
        return self._handler


@pytest.fixture(params=SHAPES)
def shape(request) -> str:
    return request.param


@pytest.fixture
def handler(shape) -> Waiting:
    return Waiting(shape)


@pytest.fixture
async def port(reviews, handler):
    server = grpc.aio.server(interceptors=reviews.grpc.aio_server_interceptors())
    server.add_generic_rpc_handlers((handler,))
    port = reviews.grpc.add_port(server, "127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(0)


@pytest.fixture
def revoke(productpage, words):
    """Whom the caller believes no more."""

    def now(*revoked: str) -> None:
        current = productpage.source.current()
        productpage.rotate(words.replace(current, revoked=frozenset(revoked)))

    return now


def sent(shape: str, iterate):
    return iterate([b"one"]) if shape.startswith("stream") else b"one"


async def aiterate(messages):
    for message in messages:
        yield message


async def read_on(call, shape: str):
    if not shape.endswith("stream"):
        return await call
    return [message async for message in call]


def is_cut(error: grpc.RpcError) -> bool:
    return error.code() is grpc.StatusCode.UNAVAILABLE and REVOKED in error.details()


async def test_a_call_on_an_event_loop_is_cut(
    productpage, port, words, shape, handler, revoke, eventually
):
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    async with productpage.grpc.aio_channel(words.HOST) as channel:
        call = getattr(channel, shape)("/test/Wait")(sent(shape, aiterate), timeout=20)
        reading = asyncio.create_task(read_on(call, shape))
        await asyncio.to_thread(handler.entered.acquire)
        revoke(words.REVIEWS)
        with pytest.raises(grpc.RpcError) as raised:
            await reading
        assert is_cut(raised.value)
        assert raised.value.mesh.flags == ("UC",)
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert not call.cancelled()
    await eventually(lambda: productpage.causes)
    assert productpage.causes == ["RESET"]


@pytest.fixture
def begun(productpage, shape):
    """A call of a synchronous channel that is under way, and a future of what comes of it."""
    pool = futures.ThreadPoolExecutor(1)

    def begin(channel, verb="__call__"):
        method = getattr(channel, shape)("/test/Wait")
        if shape.endswith("stream"):
            call = method(sent(shape, iter), timeout=20)
            return call, pool.submit(list, call)
        if verb == "future":
            call = method.future(sent(shape, iter), timeout=20)
            return call, pool.submit(call.result)
        return None, pool.submit(method, sent(shape, iter), timeout=20)

    yield begin
    pool.shutdown()


@pytest.mark.parametrize(
    ("shape", "verb"),
    [*((shape, "__call__") for shape in SHAPES), ("unary_unary", "future")],
    indirect=["shape"],
)
async def test_a_call_on_a_thread_is_cut(
    verb, productpage, port, words, handler, revoke, begun, eventually
):
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    with productpage.grpc.channel(words.HOST) as channel:
        call, result = begun(channel, verb)
        await asyncio.to_thread(handler.entered.acquire)
        revoke(words.REVIEWS)
        with pytest.raises(grpc.RpcError) as raised:
            await asyncio.wrap_future(result)
        assert is_cut(raised.value)
        assert raised.value.mesh.flags == ("UC",)
        if call is not None:
            assert call.code() is grpc.StatusCode.UNAVAILABLE
            assert not call.cancelled()
        await eventually(lambda: productpage.causes)
        assert productpage.causes == ["RESET"]


@pytest.mark.parametrize("shape", ["unary_stream"], indirect=True)
async def test_the_revocation_of_another_and_new_certificates_cut_nothing(
    productpage, port, words, handler, ca, revoke
):
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    async with productpage.grpc.aio_channel(words.HOST) as channel:
        call = channel.unary_stream("/test/Wait")(b"", timeout=20)
        assert await call.read() == b"first"
        revoke(words.RATINGS)
        productpage.rotate(ca.credentials(words.PRODUCTPAGE))
        other = words.believing(ca, words.Ca("elsewhere"), svid=ca.svid(words.PRODUCTPAGE))
        productpage.rotate(other)
        again = channel.unary_stream("/test/Wait")(b"", timeout=20)
        assert await again.read() == b"first"
        assert not call.done()


@pytest.mark.parametrize("shape", ["unary_stream"], indirect=True)
async def test_a_new_certificate_cuts_no_call_on_a_thread(
    productpage, port, words, handler, ca, revoke
):
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    with productpage.grpc.channel(words.HOST) as channel:
        call = channel.unary_stream("/test/Wait")(b"", timeout=20)
        assert await asyncio.to_thread(next, call) == b"first"
        revoke(words.RATINGS)
        productpage.rotate(ca.credentials(words.PRODUCTPAGE))
        again = channel.unary_stream("/test/Wait")(b"", timeout=20)
        assert await asyncio.to_thread(next, again) == b"first"
        assert call.is_active()
        call.cancel()
        again.cancel()


@pytest.mark.parametrize("shape", ["unary_unary"], indirect=True)
async def test_who_is_believed_again_is_called_again(productpage, port, words, handler, revoke):
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    async with productpage.grpc.aio_channel(words.HOST) as channel:
        call = channel.unary_unary("/test/Wait")(b"", timeout=20)
        await asyncio.to_thread(handler.entered.acquire)
        revoke(words.REVIEWS)
        revoke()
        with pytest.raises(grpc.RpcError):
            await call
        again = channel.unary_unary("/test/Wait")(b"", timeout=20)
        await asyncio.to_thread(handler.entered.acquire)
        again.cancel()


@pytest.mark.parametrize("shape", ["unary_unary"], indirect=True)
async def test_who_is_believed_again_is_called_again_by_threads(
    productpage, port, words, handler, revoke, begun
):
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    with productpage.grpc.channel(words.HOST) as channel:
        _, result = begun(channel)
        await asyncio.to_thread(handler.entered.acquire)
        revoke(words.REVIEWS)
        revoke()
        with pytest.raises(grpc.RpcError):
            await asyncio.wrap_future(result)
        again = channel.unary_unary("/test/Wait").future(b"", timeout=20)
        await asyncio.to_thread(handler.entered.acquire)
        again.cancel()


@pytest.mark.parametrize("shape", ["unary_stream"], indirect=True)
async def test_whom_the_application_cancels_is_cancelled(productpage, port, words, handler, revoke):
    """Also when the server is revoked in the same breath."""
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    async with productpage.grpc.aio_channel(words.HOST) as channel:
        call = channel.unary_stream("/test/Wait")(b"", timeout=20)
        assert await call.read() == b"first"
        reading = asyncio.create_task(call.read())
        await asyncio.sleep(0)
        revoke(words.REVIEWS)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading


@pytest.fixture
async def site(reviews):
    """Serve this handler; gives the port."""
    closing = []

    async def start(handler) -> int:
        app = web.Application()
        app.router.add_route("*", "/", handler)
        reviews.aiohttp.setup(app)
        runner = web.AppRunner(app, shutdown_timeout=0.05)
        await runner.setup()
        closing.append(runner)
        served = reviews.aiohttp.site(runner, "127.0.0.1", 0)
        await served.start()
        return served.port

    yield start
    for runner in closing:
        await runner.cleanup()


@pytest.mark.parametrize("shape", ["unary_unary"], indirect=True)
@pytest.mark.parametrize("verb", ["__call__", "with_call", "future"])
async def test_a_call_that_is_revoked_as_it_sets_out_is_refused(
    verb, productpage, port, words, handler, revoke
):
    """Its channel was there a moment ago, and is cut before a byte is sent."""

    def serialize(message):
        revoke(words.REVIEWS)
        return message

    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    with productpage.grpc.channel(words.HOST) as channel:
        method = channel.unary_unary("/test/Wait", request_serializer=serialize)
        call = getattr(method, verb)
        with pytest.raises(grpc.RpcError, match="is revoked") as raised:
            await asyncio.to_thread(lambda: call(b"", timeout=20).result())
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not handler.entered.acquire(blocking=False)


@pytest.mark.parametrize("by", ["id", "serial"])
@pytest.mark.parametrize("sized", [False, True])
async def test_an_answer_of_aiohttp_is_cut(
    by, sized, site, reviews, productpage, words, revoke, eventually
):
    """Neither does the end of the connection look like the end of the body."""

    async def handler(request):
        response = web.StreamResponse()
        if sized:
            response.content_length = 10
        await response.prepare(request)
        await response.write(b"first")
        await asyncio.Event().wait()

    productpage.lead_to(await site(handler), tls=words.mutual(words.REVIEWS))
    serial = f"{reviews.source.current().svid.serial:x}"
    url = f"http://{words.HOST}/"
    version = aiohttp.HttpVersion11 if sized else aiohttp.HttpVersion10  # which has no chunks
    session = productpage.aiohttp.session(version=version)
    async with session, session.get(url) as response:
        assert await response.content.readany() == b"first"
        revoke(words.RATINGS)
        assert response.content.exception() is None
        revoke(words.REVIEWS if by == "id" else serial)
        await eventually(lambda: response.connection.transport is None)
        with pytest.raises(aiohttp.ClientError, match=REVOKED) as raised:
            await response.content.read()
    assert raised.value.mesh.flags == ("UC",)
    await eventually(lambda: productpage.causes)
    assert productpage.causes == ["RESET"]


async def test_a_request_of_aiohttp_is_cut_before_its_answer(site, productpage, words, revoke):
    entered = asyncio.Event()

    async def handler(_request):
        entered.set()
        await asyncio.Event().wait()

    productpage.lead_to(await site(handler), tls=words.mutual(words.REVIEWS))
    async with productpage.aiohttp.session() as session:
        asking = asyncio.create_task(session.post(f"http://{words.HOST}/", data=b"1"))
        await entered.wait()
        revoke(words.REVIEWS)
        with pytest.raises(aiohttp.ClientError, match=REVOKED) as raised:
            await asking
    assert raised.value.mesh.flags == ("UC",)
