"""meshlib's own clients and a control plane that is missing, speaks nonsense, or knows no host."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import grpc
import pytest

import meshlib

pytestmark = pytest.mark.interop

Garbage = Callable[[int], contextlib.AbstractAsyncContextManager[asyncio.Event]]
# The deadline of a call that must fail, and where patience ends: before the mesh's own would.
SOON = 1.0
PATIENCE = 10.0


@contextlib.asynccontextmanager
async def talks(port: int, text: bytes, *, hangs_up: bool) -> AsyncIterator[asyncio.Event]:
    """A TCP server that says something to everyone, whatever it is asked; tells of the first."""
    met = asyncio.Event()
    heard: list[asyncio.StreamWriter] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(writer)
        met.set()
        writer.write(text)
        if hangs_up:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield met
    finally:
        server.close()
        for writer in heard:
            writer.transport.abort()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def no_ads(port: int) -> AsyncIterator[asyncio.Event]:
    """A gRPC server that is no control plane."""
    met = asyncio.Event()

    class Nothing(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
            met.set()

    server = grpc.aio.server(handlers=[Nothing()], options=(("grpc.so_reuseport", 0),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield met
    finally:
        await server.stop(None)


GARBAGE: dict[str, Garbage] = {
    "silent": lambda port: talks(port, b"", hangs_up=False),
    "hangs-up": lambda port: talks(port, b"", hangs_up=True),
    "http1": lambda port: talks(port, b"HTTP/1.1 200 OK\r\n\r\nhello", hangs_up=False),
    "noise": lambda port: talks(port, bytes(range(256)) * 300, hangs_up=True),
    "no-ads": no_ads,
}


@pytest.fixture(params=GARBAGE)
def garbage(request: pytest.FixtureRequest) -> Garbage:
    return GARBAGE[request.param]


async def failure(call: Any) -> Exception:
    """How the call fails; it must do so before the mesh itself would have given up."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises((grpc.RpcError, aiohttp.ClientError, TimeoutError)) as caught:
            await call()
    return caught.value


async def test_without_a_control_plane_a_call_fails_at_its_deadline_and_says_what_is_missing(
    member: Any, nowhere: str
) -> None:
    async with (
        meshlib.Mesh("productpage", control_plane=nowhere) as mesh,
        member(mesh, seconds=SOON) as call,
    ):
        error = await failure(call)
    assert f"{member.service}:9080" in str(error)


async def test_a_call_waits_for_a_control_plane_that_comes_late(member: Any, plane: Any) -> None:
    plane.kill()
    async with (
        meshlib.Mesh("productpage", control_plane=plane.address) as mesh,
        member(mesh) as call,
    ):
        waiting = asyncio.create_task(call())
        await plane.start()
        assert await waiting in ("v1", "v2")


async def test_nonsense_instead_of_a_control_plane_is_outlived(
    garbage: Garbage, members: Any, plane: Any
) -> None:
    """Nothing is known yet: calls fail at their deadline, and go once it speaks sense."""
    plane.kill()
    port = int(plane.address.rpartition(":")[2])
    async with meshlib.Mesh("productpage", control_plane=plane.address) as mesh:
        async with garbage(port) as met, members["aio"](mesh, seconds=SOON) as call:
            error = await failure(call)
            assert "reviews:9080" in str(error)
            assert met.is_set()
        await plane.start()
        async with members["aio"](mesh) as call:
            assert await call() in ("v1", "v2")


async def test_a_control_plane_that_begins_to_speak_nonsense_breaks_no_call(
    garbage: Garbage, members: Any, plane: Any, folder: Any, load: Any
) -> None:
    port = int(plane.address.rpartition(":")[2])
    async with (
        meshlib.Mesh("productpage", control_plane=plane.address) as mesh,
        members["aio"](mesh) as call,
        load(call) as calls,
    ):
        await calls.more(50)
        plane.kill()
        async with garbage(port) as met:
            await asyncio.wait_for(met.wait(), PATIENCE)
            await calls.more(200)
        folder.split(0, 100)
        await plane.start()
        await calls.only("v2", 50)
    assert calls.failed == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_host_that_is_not_of_the_mesh_is_called_at_once(
    member: Any, name: str, plane: Any, upstreams: Any
) -> None:
    """At once: the deadline is far shorter than the wait for something never served."""
    place = f"{name}:{upstreams[member.service, 'v1']}"
    async with (
        meshlib.Mesh("productpage", control_plane=plane.address) as mesh,
        member(mesh, place, seconds=5) as call,
    ):
        assert await call() == "v1"
        assert mesh.status()["listeners"] == []
