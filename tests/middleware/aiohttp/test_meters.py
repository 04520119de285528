"""Octets of bodies are counted alike on both sides, however they are sent."""

import asyncio

import pytest
from aiohttp import (
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    TraceConfig,
    WSMsgType,
    web,
)

from meshlib.model import DirectResponseAction, Route


async def pieces(*chunks: bytes):
    for chunk in chunks:
        yield chunk


def counted(event):
    meter = event.record.request.meter
    return meter.request_bytes, meter.response_bytes


async def meshed(mesh, servers, auntil_ended, handler, **request):
    """One call to a handler, both sides in one mesh."""
    address = await servers.start(handler, setup=mesh.hooks.setup)
    mesh.apply(address)
    method = request.pop("method", "POST")
    async with (
        mesh.hooks.session() as session,
        session.request(method, "http://reviews:9080/", **request) as answer,
    ):
        await answer.read()
    await auntil_ended(2)
    served, made = sorted(mesh.ended, key=lambda event: not event.record.inbound)
    for event in (served, made):
        assert event.record.request.meter.request_ended is not None
    assert made.record.request.meter.response_began is not None
    return counted(served), counted(made), answer.status


@pytest.fixture
def auntil_ended(mesh):
    async def wait(count):
        while len(mesh.ended) < count:
            mesh.runtime.collect()
            await asyncio.sleep(0)

    return wait


async def bytes_back(request):
    return web.Response(body=await request.read() + b"!")


async def streamed_back(request):
    response = web.StreamResponse()
    await response.prepare(request)
    async for chunk in request.content.iter_chunked(3):
        await response.write(chunk)
    await response.write(b"!")
    return response


async def payload_back(request):
    return web.Response(body=pieces(await request.read(), b"!"))


async def squeezed_back(request):
    response = web.Response(body=await request.read() + b"!")
    response.enable_compression()
    return response


HANDLERS = [bytes_back, streamed_back, payload_back, squeezed_back]


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("kind", ["bytes", "none", "stream", "file"])
async def test_both_sides_count_the_same(mesh, servers, auntil_ended, tmp_path, handler, kind):
    file = tmp_path / "body"
    file.write_bytes(b"x" * 70_000)
    with file.open("rb") as opened:
        data, size = {
            "bytes": (b"hello", 5),
            "none": (None, 0),
            "stream": (pieces(b"ab", b"cde"), 5),
            "file": (opened, 70_000),
        }[kind]
        served, made, status = await meshed(mesh, servers, auntil_ended, handler, data=data)
    assert status == 200
    assert served == made == (size, size + 1)


async def test_a_file_that_is_sent_counts(mesh, servers, auntil_ended, tmp_path):
    file = tmp_path / "page.html"
    file.write_bytes(b"<p>" * 1000)

    async def page(request):
        return web.FileResponse(file)

    served, made, _ = await meshed(mesh, servers, auntil_ended, page, method="GET")
    assert served == made == (0, 3000)


@pytest.mark.parametrize("answer", [web.Response(text="words"), web.Response(status=204)])
async def test_a_response_without_body_weighs_nothing(mesh, servers, auntil_ended, answer):
    async def head(request):
        return answer

    method = "HEAD" if answer.status == 200 else "GET"
    served, made, _ = await meshed(mesh, servers, auntil_ended, head, method=method)
    assert served == made == (0, 0)


@pytest.mark.filterwarnings("ignore")
async def test_the_page_of_an_error_counts(mesh, servers, auntil_ended, caplog):
    async def broken(request):
        raise ValueError(request)

    served, made, status = await meshed(mesh, servers, auntil_ended, broken, method="GET")
    assert status == 500
    assert served == made
    assert served[1] > 0


async def test_an_http_exception_counts(mesh, servers, auntil_ended):
    async def missing(request):
        raise web.HTTPNotFound(text="nobody")

    served, made, status = await meshed(mesh, servers, auntil_ended, missing, method="GET")
    assert status == 404
    assert served == made == (0, 6)


async def test_what_the_mesh_answers_counts(mesh, servers, auntil_ended):
    mesh.apply(routes=(Route(action=DirectResponseAction(status=403, body=b"no")),))
    async with mesh.hooks.session() as session:
        for method in ("GET", "HEAD"):
            async with session.request(method, "http://reviews:9080/") as answer:
                await answer.read()
    assert [counted(event) for event in mesh.ended] == [(0, 2), (0, 0)]


async def test_an_attempt_made_anew_counts_anew(mesh, servers, auntil_ended):
    failures = [503, 503]

    async def warming_up(request):
        await request.read()
        return web.Response(status=failures.pop() if failures else 200, text="words")

    address = await servers.start(warming_up)
    mesh.apply(address, retry=mesh.retry("5xx", times=2))
    async with (
        mesh.hooks.session() as session,
        session.put("http://reviews:9080/", data=b"hello") as answer,
    ):
        await answer.read()
    await auntil_ended(1)
    assert [counted(event) for event in mesh.ended] == [(5, 5)]


async def test_traces_of_aiohttp_hear_of_the_chunks_still(mesh, servers, auntil_ended):
    heard = []

    async def note(session, context, params):
        heard.append(params.chunk)

    tracing = TraceConfig()
    tracing.on_request_chunk_sent.append(note)
    mesh.apply(await servers.start(bytes_back))
    async with mesh.hooks.session(trace_configs=[tracing]) as session:
        data = pieces(b"ab", b"cde")
        async with session.post("http://reviews:9080/", data=data) as answer:
            await answer.read()
    assert heard == [b"ab", b"cde"]
    assert counted(mesh.ended[0]) == (5, 6)


async def test_a_response_that_nobody_can_be_sent_ends_its_call(mesh, servers, auntil_ended):
    async def endless(request):
        request.transport.abort()
        return web.Response(body=pieces(b"x"))

    address = await servers.start(endless, setup=mesh.hooks.setup)
    async with ClientSession() as session:
        with pytest.raises(ClientError):
            await session.post(f"http://{address}/")
    await auntil_ended(1)
    assert [event.record.inbound for event in mesh.ended] == [True]


async def chat(request):
    """Says in capitals what it hears."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data.upper())
        elif message.data == "raw":
            await socket.send_frame(b"RAW!", WSMsgType.TEXT)
            await socket.send_frame(b"are you there?", WSMsgType.PING)
        else:
            await socket.send_str(message.data.upper())
    return socket


async def test_a_websocket_is_one_call_that_lasts_as_long_as_it_does(mesh, servers, auntil_ended):
    mesh.apply(await servers.start(chat, setup=mesh.hooks.setup))
    async with (
        mesh.hooks.session() as session,
        session.ws_connect("ws://reviews:9080/chat") as socket,
    ):
        await socket.send_str("hello")
        assert await socket.receive_str() == "HELLO"
        mesh.runtime.collect()
        assert not mesh.ended
    await auntil_ended(2)
    assert [event.outcome.status for event in mesh.ended] == [101, 101]
    assert [counted(event) for event in mesh.ended] == [(5, 5), (5, 5)]


async def test_all_kinds_of_messages_count_at_both_ends_and_pings_do_not(
    mesh, servers, auntil_ended
):
    mesh.apply(await servers.start(chat, setup=mesh.hooks.setup))
    async with (
        mesh.hooks.session() as session,
        session.ws_connect("ws://reviews:9080/chat", compress=15) as socket,
    ):
        await socket.ping(b"are you there?")
        await socket.send_str("\N{LATIN SMALL LETTER E WITH ACUTE}" * 10)
        assert len(await socket.receive_str()) == 10
        await socket.send_bytes(b"x" * 1000)
        assert await socket.receive_bytes() == b"X" * 1000
        await socket.send_frame(b"raw", WSMsgType.TEXT)
        assert await socket.receive_str() == "RAW!"
        await socket.send_json([7])
        assert await socket.receive_json() == [7]
    await auntil_ended(2)
    assert [counted(event) for event in mesh.ended] == [(1026, 1027), (1026, 1027)]


async def test_whoever_has_a_kind_of_websocket_of_his_own_keeps_it(mesh, servers, auntil_ended):
    class Own(ClientWebSocketResponse):
        pass

    mesh.apply(await servers.start(chat))
    async with (
        mesh.hooks.session(ws_response_class=Own) as session,
        session.ws_connect("ws://reviews:9080/chat") as socket,
    ):
        assert type(socket) is Own
        await socket.send_str("hello")
        assert await socket.receive_str() == "HELLO"
    await auntil_ended(1)
    assert counted(mesh.ended[0]) == (0, 0)
