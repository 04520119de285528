"""However the body of a response ends, the call ends with it, once."""

import asyncio
import gc
import socket
import threading

import aiohttp
import pytest
from aiohttp import web

from meshlib.dataplane import Failure
from meshlib.errors import CallError
from meshlib.model import Address


@pytest.fixture
def bodies():
    """A server's body that comes in two parts, the second when told to."""
    return Bodies()


class Bodies:
    def __init__(self) -> None:
        self.rest = asyncio.Event()
        self.sent_first = b"first "

    async def answer(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(self.sent_first)
        await self.rest.wait()
        await answer.write(b"second")
        return answer


async def test_a_call_lasts_until_its_body_was_read(mesh, servers, session, url, bodies):
    mesh.apply(await servers.start(bodies.answer))
    answer = await session.get(url)
    assert mesh.active == 1
    bodies.rest.set()
    assert await answer.read() == b"first second"
    assert mesh.active == 0
    assert len(mesh.ended) == 1
    assert mesh.ended[0].outcome.status == 200


async def test_a_body_may_be_read_by_chunks(mesh, servers, session, url, bodies):
    mesh.apply(await servers.start(bodies.answer))
    async with session.get(url) as answer:
        chunks = answer.content.iter_any()
        assert await anext(chunks) == b"first "
        assert mesh.active == 1
        bodies.rest.set()
        assert b"".join([chunk async for chunk in chunks]) == b"second"
        assert mesh.active == 0
    assert len(mesh.ended) == 1


async def test_leaving_a_body_half_read_ends_the_call(mesh, servers, session, url, bodies):
    mesh.apply(await servers.start(bodies.answer))
    async with session.get(url) as answer:
        async for _ in answer.content.iter_any():
            break
        assert mesh.active == 1
    assert mesh.active == 0
    assert [end.outcome.status for end in mesh.ended] == [200]


@pytest.mark.parametrize("leave", ["release", "close"])
async def test_giving_a_response_up_ends_the_call(mesh, servers, session, url, bodies, leave):
    mesh.apply(await servers.start(bodies.answer))
    answer = await session.get(url)
    getattr(answer, leave)()
    getattr(answer, leave)()
    assert mesh.active == 0
    assert len(mesh.ended) == 1


async def test_cancelling_the_reading_ends_the_call(mesh, servers, session, url, bodies):
    mesh.apply(await servers.start(bodies.answer))
    answer = await session.get(url)
    reading = asyncio.create_task(answer.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert mesh.active == 0
    assert len(mesh.ended) == 1


async def test_a_body_that_breaks_off_is_a_reset_call(mesh, servers, session, url):
    async def half(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.01)

    mesh.apply(await servers.raw(half))
    answer = await session.get(url)
    assert mesh.active == 1
    with pytest.raises(aiohttp.ClientPayloadError) as caught:
        await answer.read()
    assert caught.value.mesh.flags == ("UC",)
    assert mesh.active == 0
    assert [end.outcome.cause.name for end in mesh.ended] == ["RESET"]


async def test_the_routes_timeout_covers_the_body(mesh, servers, session, url, bodies):
    mesh.apply(await servers.start(bodies.answer), timeout=0.1)
    answer = await session.get(url)
    with pytest.raises(aiohttp.ServerTimeoutError) as caught:
        await answer.read()
    assert isinstance(caught.value, CallError)
    assert caught.value.mesh.flags == ("UT",)
    assert mesh.active == 0
    assert [end.outcome.cause.name for end in mesh.ended] == ["TIMEOUT"]


async def test_a_body_read_in_time_is_not_cut_off(mesh, servers, session, url, bodies):
    mesh.apply(await servers.start(bodies.answer), timeout=0.1)
    answer = await session.get(url)
    bodies.rest.set()
    assert await answer.read() == b"first second"
    await asyncio.sleep(0.15)
    assert await answer.text() == "first second"
    assert not any(isinstance(end.outcome, Failure) for end in mesh.ended)


async def test_a_dropped_response_ends_its_call_when_the_session_closes(mesh, servers, url, bodies):
    mesh.apply(await servers.start(bodies.answer))
    async with mesh.hooks.session() as session:
        await session.get(url)
        gc.collect()
    gc.collect()
    assert mesh.active == 0
    assert len(mesh.ended) == 1


@pytest.mark.filterwarnings("ignore")  # of the unclosed: that is the point
def test_a_loop_closed_over_an_open_response_leaves_no_permit_behind(mesh, url):
    async def leave_open() -> aiohttp.ClientResponse:
        return await mesh.hooks.session().get(url)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        mesh.apply(Address(*listening.getsockname()))
        serving = threading.Thread(target=half_an_answer, args=(listening,))
        serving.start()
        loop = asyncio.new_event_loop()
        answer = loop.run_until_complete(leave_open())
        assert mesh.active == 1
        loop.close()
        del answer
        gc.collect()
        serving.join()
    assert mesh.active == 0
    assert [end.outcome.cause.name for end in mesh.ended] == ["CANCELLED"]


def half_an_answer(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        connection.recv(1000)  # until the other side is gone


async def test_permits_come_back_from_a_crowd_that_ends_in_every_way(
    mesh, servers, session, url, bodies
):
    mesh.apply(await servers.start(bodies.answer), await servers.named("whole"))

    async def one(number: int) -> None:
        answer = await session.get(url)
        match number % 4:
            case 0:
                answer.close()
            case 1:
                await answer.content.readany()
                answer.release()
            case 2:
                await answer.read()
            case 3:
                async with answer:
                    pass

    crowd = [asyncio.create_task(one(number)) for number in range(40)]
    await asyncio.sleep(0.05)
    for task in crowd[::5]:
        task.cancel()
    bodies.rest.set()
    await asyncio.gather(*crowd, return_exceptions=True)
    assert mesh.active == 0
    assert len(mesh.ended) == 40


async def test_the_end_of_a_body_waits_for_nobody(mesh, servers, session, url, bodies):
    """A finaliser may end a call while its own thread holds the lock."""
    mesh.apply(await servers.start(bodies.answer))
    answer = await session.get(url)
    with mesh.runtime.lock:
        answer.close()
        assert not mesh.ended
    assert mesh.active == 0
    assert len(mesh.ended) == 1
