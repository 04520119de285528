"""Who is revoked is cut off, in the midst of a call too."""

import asyncio
import time

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


@pytest.fixture
async def watch(reviews, productpage, words, endless):
    """``await watch()``: a stream that goes on, from a server that lets the caller in."""
    server = grpc.aio.server(interceptors=reviews.grpc.aio_server_interceptors())
    server.add_generic_rpc_handlers((endless(awaited=True),))
    port = reviews.grpc.add_port(server, "127.0.0.1:0")
    await server.start()
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    channel = productpage.grpc.aio_channel(words.HOST)

    async def watch():
        call = channel.unary_stream("/test/Watch")(b"", timeout=20)
        assert await call.read() == b"first"
        return call

    yield watch
    await channel.close()
    await server.stop(0)


async def test_who_is_not_revoked_goes_on(reviews, words, watch):
    call = await watch()
    current = reviews.source.current()
    reviews.rotate(words.replace(current, revoked=frozenset([words.RATINGS])))
    await watch()
    assert not call.done()


@pytest.fixture
async def watched(watch):
    return await watch()


@pytest.fixture
def two_hours_on(reviews):
    """Certificates of an hour have expired, and are dead wood for the CA."""
    reviews.runtime.security.inbound._wall = lambda: time.time() + 7200


async def test_a_stream_outlives_its_certificate_when_another_is_revoked(
    watched, reviews, words, two_hours_on
):
    current = reviews.source.current()
    reviews.rotate(words.replace(current, revoked=frozenset([words.RATINGS])))
    assert not reviews.runtime.security.inbound.held.cuts
    assert not watched.done()


async def test_a_stream_outlives_its_certificate_and_the_root_that_vouched_for_it(
    watched, reviews, words, two_hours_on
):
    current = reviews.source.current()
    new = words.Ca().bundle
    reviews.rotate(words.replace(current, bundles={"cluster.local": new}))
    assert not reviews.runtime.security.inbound.held.cuts
    assert not watched.done()


@pytest.mark.parametrize("by", ["id", "serial"])
async def test_a_stream_is_cut_by_a_revocation_after_its_certificate_expired(
    by, watched, reviews, productpage, words, two_hours_on
):
    current = reviews.source.current()
    serial = f"{productpage.source.current().svid.serial:x}"
    revoked = words.PRODUCTPAGE if by == "id" else serial
    reviews.rotate(words.replace(current, revoked=frozenset([revoked])))
    with pytest.raises(grpc.RpcError) as raised:
        await watched.read()
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_is_cut_when_its_root_is_believed_no_more(watched, reviews, words):
    """As in an emergency: the certificate itself would hold yet."""
    current = reviews.source.current()
    new = words.Ca().bundle
    reviews.rotate(words.replace(current, bundles={"cluster.local": new}))
    with pytest.raises(grpc.RpcError) as raised:
        await watched.read()
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("warm", [False, True])
async def test_a_server_whose_id_is_revoked_is_called_no_more(
    kind, warm, serve, client, reviews, productpage, words, seen
):
    """The server itself, whose key was stolen, may not say so."""
    productpage.lead_to(await serve(reviews, kind), tls=words.mutual(words.REVIEWS))
    caller = client(productpage, kind)
    if warm:
        assert await caller.call() == words.PRODUCTPAGE
    before = len(seen.callers)
    current = productpage.source.current()
    productpage.rotate(words.replace(current, revoked=frozenset([words.REVIEWS])))
    assert "is revoked" in await caller.error()
    assert len(seen.callers) == before


async def test_a_server_whose_serial_is_revoked_is_called_no_more_by_aiohttp(
    serve, client, reviews, productpage, words, seen
):
    productpage.lead_to(await serve(reviews, "aiohttp"), tls=words.mutual(words.REVIEWS))
    caller = client(productpage, "aiohttp")
    assert await caller.call() == words.PRODUCTPAGE
    before, current = len(seen.callers), productpage.source.current()
    serial = f"{reviews.source.current().svid.serial:x}"
    productpage.rotate(words.replace(current, revoked=frozenset([serial])))
    assert "revoked" in await caller.error()
    assert len(seen.callers) == before
