"""A connection that carries nothing any more, and says so to nobody."""

import asyncio
from typing import Any

import pytest

from meshlib.testing.relay import DATA, Frame, Line, Point

pytestmark = pytest.mark.interop
PATIENCE = 20.0
# What is read as the head of a long frame, so that all that follows seems to be of it.
TLS = b"\x16\x03\x03\x00\x7a" + bytes(122)


@pytest.fixture
def place(relay: Any) -> str:
    return relay.address


@pytest.fixture
def keepalive() -> float:
    """Short, or this would take half a minute."""
    return 0.5


async def test_calls_go_on_while_it_is_found_that_nothing_comes_through(
    call: Any, control_plane: Any, mesh: Any, relay: Any, world: Any, load: Any
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"
    async with load(call) as calls:
        relay.hush()
        await control_plane.serve("2", world("v2"))
        await calls.only("v2", 50)
        (server,) = mesh.status()["source"]["servers"]
        assert server["connected"]
        assert "ping timeout" in server["last_stream_status"]
        await control_plane.serve("3", world("v1"))
        await calls.only("v1", 50)
    assert calls.failed == []


async def test_calls_go_on_while_it_is_found_that_nothing_makes_sense(
    call: Any, control_plane: Any, relay: Any, world: Any, load: Any
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"

    async def babble(_: Line, frame: Frame) -> bytes:
        return frame.whole + TLS

    async with load(call) as calls:
        babbled = relay.at(Point(DATA), babble)
        await control_plane.serve("2", world("v1", "2"))
        await asyncio.wait_for(babbled, PATIENCE)
        await control_plane.serve("3", world("v2"))
        await calls.only("v2", 50)
    assert calls.failed == []
