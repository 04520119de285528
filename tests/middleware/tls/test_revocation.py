"""Who is revoked is cut off, in the midst of a call too."""

import asyncio

import aiohttp
import grpc
import pytest
from aiohttp import web


@pytest.fixture
def endless():
    """Handlers that do not end by themselves."""

    class Endless(grpc.GenericRpcHandler):
        def __init__(self, *, awaited) -> None:
            def stream(_request, context):
                yield b"first"
                over.wait(20)
                yield b"last"

            async def astream(_request, context):
                yield b"first"
                await asyncio.Event().wait()

            import threading

            over = self.over = threading.Event()
            self._stream = grpc.unary_stream_rpc_method_handler(astream if awaited else stream)

        def service(self, details):
            return self._stream

    return Endless


@pytest.fixture
def revoke(reviews, words):
    def now():
        current = reviews.source.current()
        reviews.rotate(words.replace(current, revoked=frozenset([words.PRODUCTPAGE])))

    return now


async def test_a_stream_on_asyncio_is_cut(reviews, productpage, words, endless, revoke):
    server = grpc.aio.server(interceptors=reviews.grpc.aio_server_interceptors())
    server.add_generic_rpc_handlers((endless(awaited=True),))
    port = reviews.grpc.add_port(server, "127.0.0.1:0")
    await server.start()
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    channel = productpage.grpc.aio_channel(words.HOST)
    call = channel.unary_stream("/test/Watch")(b"", timeout=20)
    assert await call.read() == b"first"
    revoke()
    with pytest.raises(grpc.RpcError) as raised:
        await call.read()
    assert raised.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
    await channel.close()
    await server.stop(0)


async def test_a_stream_on_a_thread_is_cut(reviews, productpage, words, endless, revoke):
    from concurrent import futures

    pool = futures.ThreadPoolExecutor(2)
    server = grpc.server(pool, interceptors=reviews.grpc.server_interceptors())
    handlers = endless(awaited=False)
    server.add_generic_rpc_handlers((handlers,))
    port = reviews.grpc.add_port(server, "127.0.0.1:0")
    server.start()
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    channel = productpage.grpc.channel(words.HOST)
    call = channel.unary_stream("/test/Watch")(b"", timeout=20)
    assert await asyncio.to_thread(next, call) == b"first"
    revoke()
    with pytest.raises(grpc.RpcError) as raised:
        await asyncio.to_thread(list, call)
    assert raised.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
    handlers.over.set()
    channel.close()
    server.stop(0).wait()
    pool.shutdown()


async def test_an_answer_of_aiohttp_is_cut(reviews, productpage, words, revoke):
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await asyncio.Event().wait()

    app = web.Application()
    app.router.add_get("/", handler)
    reviews.aiohttp.setup(app)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    site = reviews.aiohttp.site(runner, "127.0.0.1", 0)
    await site.start()
    productpage.lead_to(site.port, tls=words.mutual(words.REVIEWS))
    url = f"http://{words.HOST}/"
    async with productpage.aiohttp.session() as session, session.get(url) as response:
        assert await response.content.readany() == b"first"
        revoke()
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()
    await runner.cleanup()


async def test_who_is_not_revoked_goes_on(reviews, productpage, words, endless):
    server = grpc.aio.server(interceptors=reviews.grpc.aio_server_interceptors())
    server.add_generic_rpc_handlers((endless(awaited=True),))
    port = reviews.grpc.add_port(server, "127.0.0.1:0")
    await server.start()
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    channel = productpage.grpc.aio_channel(words.HOST)
    call = channel.unary_stream("/test/Watch")(b"", timeout=20)
    assert await call.read() == b"first"
    current = reviews.source.current()
    reviews.rotate(words.replace(current, revoked=frozenset([words.RATINGS])))
    again = channel.unary_stream("/test/Watch")(b"", timeout=20)
    assert await again.read() == b"first"
    assert not call.done()
    await channel.close()
    await server.stop(0)
