"""Every kind of gRPC call is secured, or refused, alike; and peer() says who calls in each."""

import asyncio

import grpc
import pytest

import meshlib

UNARY, STREAM = "/test.Echo/Say", "/test.Echo/Stream"
SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


async def played(channel, shape, *, awaited):
    """All messages of a call of this shape."""
    path = STREAM if shape == "stream_stream" else UNARY
    call = getattr(channel, shape)(path)
    message = iter([b"secret"]) if shape.startswith("stream") else b"secret"
    if not awaited:
        return await asyncio.to_thread(_sync, call, message, shape)
    made = call(message, timeout=20)
    if shape.endswith("unary"):
        return [await made]
    return [one async for one in made]


def _sync(call, message, shape):
    made = call(message, timeout=20)
    return [made] if shape.endswith("unary") else list(made)


@pytest.fixture(params=["grpc", "grpc.aio"])
def library(request):
    return request.param


@pytest.fixture
def channel(library, words):
    def make(member):
        awaited = library == "grpc.aio"
        return member.grpc.aio_channel(words.HOST) if awaited else member.grpc.channel(words.HOST)

    return make


@pytest.mark.parametrize("shape", ["unary_unary", "stream_stream"])
async def test_who_calls_is_known_in_each_handler(
    library, shape, serve, channel, reviews, productpage, words
):
    port = await serve(reviews, library)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    heard = await played(channel(productpage), shape, awaited=library == "grpc.aio")
    assert set(heard) == {words.PRODUCTPAGE.encode()}


@pytest.mark.parametrize("shape", SHAPES)
async def test_without_credentials_no_kind_of_call_says_a_byte(library, shape, channel, words):
    listening = words.Listening()
    bare = words.Member()
    bare.lead_to(listening.port, tls=words.mutual(words.REVIEWS))
    with pytest.raises(grpc.RpcError) as raised:
        await played(channel(bare), shape, awaited=library == "grpc.aio")
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "cannot prove who it is" in str(raised.value)
    listening.close()
    assert listening.heard == b""
    assert bare.causes == ["CONNECT"]


async def test_a_future_is_refused_as_well(words):
    bare = words.Member()
    bare.lead_to(1, tls=words.mutual(words.REVIEWS))
    future = bare.grpc.channel(words.HOST).unary_unary(UNARY).future(b"", timeout=20)
    error = await asyncio.to_thread(future.exception)
    assert "cannot prove who it is" in str(error)


async def test_interceptors_go_over_the_same_secured_channels(serve, reviews, productpage, words):
    port = await serve(reviews, "grpc.aio")
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    own = grpc.intercept_channel(
        grpc.insecure_channel(words.HOST), *productpage.grpc.client_interceptors(words.HOST)
    )
    call = own.unary_unary(UNARY)
    assert await asyncio.to_thread(call, b"x", timeout=20) == words.PRODUCTPAGE.encode()
    async with grpc.aio.insecure_channel(
        words.HOST, interceptors=productpage.grpc.aio_client_interceptors(words.HOST)
    ) as channel:
        assert await channel.unary_unary(UNARY)(b"x", timeout=20) == words.PRODUCTPAGE.encode()


async def test_connections_end_after_their_term_with_tls_too(
    kind, serve, client, reviews, productpage, words
):
    from meshlib.model import HttpProtocolOptions

    port = await serve(reviews, kind)
    options = HttpProtocolOptions(http2=kind != "aiohttp", max_requests_per_connection=2)
    tls = words.mutual(words.REVIEWS)
    productpage.lead_to(port, tls=tls, http_protocol_options=options)
    caller = client(productpage, kind)
    for _ in range(5):
        assert await caller.call() == words.PRODUCTPAGE


def test_peer_is_asked_of_a_call():
    with pytest.raises(TypeError, match="says who calls, not a str"):
        meshlib.peer("reviews")
