"""A control plane that answers once and dies, again and again."""

import asyncio
from typing import Any

import pytest

from meshlib.testing.relay import DATA, Frame, Line, Point

pytestmark = pytest.mark.interop
PATIENCE = 20.0
TIMES = 12


@pytest.fixture
def place(relay: Any) -> str:
    return relay.address


async def test_who_answers_once_and_dies_is_called_less_and_less(
    call: Any, control_plane: Any, relay: Any, waits: Any, world: Any, load: Any
) -> None:
    """With one response a stream nothing new may become complete; what was works on."""
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"
    editions = iter(range(2, 2 + TIMES))

    async def die(line: Line, frame: Frame) -> bytes:
        line.say(frame.whole)
        line.cut()
        edition = f"{next(editions)}"
        await control_plane.serve(edition, world("v1", edition))
        return b""

    async with load(call) as calls:
        died = relay.at(Point(DATA), die, times=TIMES)
        relay.cut()
        await control_plane.serve("0", world("v1", "0"))
        await asyncio.wait_for(died, PATIENCE)
        await control_plane.serve("last", world("v2"))
        await calls.only("v2", 50)
    assert calls.failed == []
    assert relay.connections == 1 + len(waits)
    assert len(waits) > TIMES
    first, *others = waits
    assert first == 0.0, "anybody may die once"
    assert min(others) >= 0.8, "about a stream a second, or less"
