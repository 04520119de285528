"""Mutual TLS is asked for and given up again while calls go on."""

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web

import meshlib


@pytest.fixture
async def port(member, free_port):
    """Where the service is, by aiohttp."""
    mesh = member("reviews")

    async def hello(request):
        return web.json_response(meshlib.peer(request).secure)

    app = web.Application()
    app.router.add_get("/", hello)
    mesh.aiohttp.setup(app)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    number = free_port()
    await mesh.aiohttp.site(runner, host="127.0.0.1", port=number).start()
    async with mesh:
        await mesh.aregister(number, linger=0)
        yield number
        await runner.cleanup()


class Load:
    """Calls one after the other until it is told to stop."""

    def __init__(self, mesh):
        self._mesh = mesh
        self.done = 0
        self.secure = None
        self._over = False

    async def run(self):
        async with self._mesh.aiohttp.session() as session:
            while not self._over:
                async with session.get("http://reviews:9080/") as response:
                    assert response.status == 200, await response.text()
                    self.secure = await response.json()
                self.done += 1

    async def more(self, *, secure, calls=20):
        """So many calls, and then one of this kind."""
        wanted, end = self.done + calls, time.monotonic() + 20
        while self.done < wanted or self.secure is not secure:
            assert time.monotonic() < end
            if self.task.done():
                self.task.result()
            await asyncio.sleep(0.01)

    async def __aenter__(self):
        self.task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_):
        self._over = True
        await self.task


async def is_open(port):
    """Does a stranger in plain text get an answer?"""
    try:
        async with aiohttp.ClientSession() as session:
            return (await session.get(f"http://127.0.0.1:{port}/")).status == 200
    except aiohttp.ClientError:
        return False


async def becomes(port, *, open_):
    end = time.monotonic() + 20
    while await is_open(port) is not open_:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


MODES = ("PERMISSIVE", "STRICT", "PERMISSIVE", "DISABLE", "PERMISSIVE", "STRICT")
"""From one extreme to the other by way of the middle, as everybody hears of it in his own time."""


async def test_no_call_fails_while_mutual_tls_is_given_up_and_asked_for_again(
    plane, member, asking, port
):
    async with member("web") as mesh, Load(mesh) as load:
        await load.more(secure=True)
        assert not await is_open(port)
        for said in MODES:
            await plane.apply(asking(said))
            await becomes(port, open_=said != "STRICT")
            await load.more(secure=said != "DISABLE")


async def test_a_server_is_lenient_again_when_nothing_is_said_any_more(plane, asking, port):
    assert not await is_open(port)
    await plane.apply(asking(None))
    await becomes(port, open_=True)
