"""A control plane may die at any moment of the conversation, and another is heard after it."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from meshlib.testing.relay import ACCEPTED, DATA, HEADERS, SETTINGS, Frame, Line, Point
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

pytestmark = pytest.mark.interop
PATIENCE = 20.0


@dataclass(frozen=True)
class Kill:
    """Where it dies: at a frame, of which so large a share passes."""

    point: Point
    passes: float = 0.0


def asks(nth: int) -> Point:
    """A request: its frame is the first sign of it."""
    return Point(DATA, of_plane=False, nth=nth)


def says(type_url: str) -> Point:
    """A response of a type."""
    return Point(DATA, holding=type_url.encode())


A_RESPONSE = Point(DATA)
# As the client comes back, and there is news.
AS_IT_RETURNS = {
    "as it is called": Kill(Point(ACCEPTED, of_plane=False)),
    "before it greets": Kill(Point(SETTINGS)),
    "amid its greeting": Kill(Point(SETTINGS), 0.5),
    "once it has greeted": Kill(Point(SETTINGS), 1.0),
    "as the stream opens": Kill(Point(HEADERS, of_plane=False)),
    "before it is asked": Kill(asks(1)),
    "amid the question": Kill(asks(1), 0.5),
    "once it is asked": Kill(asks(1), 1.0),
    "before it answers": Kill(Point(HEADERS)),
    "once it begins to answer": Kill(Point(HEADERS), 1.0),
    "before its first response": Kill(A_RESPONSE),
    "in the head of its first response": Kill(A_RESPONSE, 0.01),
    "amid its first response": Kill(A_RESPONSE, 0.5),
    "once it gave its first response": Kill(A_RESPONSE, 1.0),
    "before it hears of its success": Kill(asks(5)),
}
# On a stream that lives, with one change that touches all types.
AMID_A_CHANGE = {
    "before the change is told": Kill(A_RESPONSE),
    "amid the listener": Kill(says(LISTENER), 0.5),
    "once the listener is told": Kill(says(LISTENER), 1.0),
    "as the listener is accepted": Kill(asks(1), 1.0),
    "before the routes": Kill(says(ROUTE)),
    "amid the routes": Kill(says(ROUTE), 0.5),
    "once the routes are told": Kill(says(ROUTE), 1.0),
    "amid the cluster": Kill(says(CLUSTER), 0.5),
    "once the cluster is told": Kill(says(CLUSTER), 1.0),
    "amid the endpoints": Kill(says(ENDPOINT), 0.5),
    "once the endpoints are told": Kill(says(ENDPOINT), 1.0),
    "as the endpoints are accepted": Kill(asks(7), 1.0),
}


@pytest.fixture
def place(relay: Any) -> str:
    return relay.address


@pytest.fixture
def heir(a_plane: Any, relay: Any, world: Any) -> Any:
    """``await heir(kill, plane, "2")``: dies there, and another has the second version."""

    async def inherits(kill: Kill, plane: Any, version: str) -> tuple[Any, asyncio.Future[None]]:
        other = await a_plane()
        await other.serve(version, world("v2"))

        async def die(line: Line, frame: Frame) -> bytes:
            line.say(
                frame.whole[: round(len(frame.whole) * kill.passes)], to_plane=not frame.of_plane
            )
            line.hush()
            await plane.kill()
            relay.upstream = other.address
            line.cut()
            return b""

        return other, relay.at(kill.point, die)

    return inherits


@pytest.mark.parametrize("kill", AS_IT_RETURNS.values(), ids=AS_IT_RETURNS)
async def test_it_dies_as_the_client_returns(
    kill: Kill,
    call: Any,
    a_plane: Any,
    control_plane: Any,
    heir: Any,
    relay: Any,
    world: Any,
    load: Any,
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"
    short_lived = await a_plane()
    await short_lived.serve("2", world("v2"))
    async with load(call) as calls:
        last, died = await heir(kill, short_lived, "2")
        relay.upstream = short_lived.address
        relay.cut()
        await asyncio.wait_for(died, PATIENCE)
        await calls.only("v2", 50)
        await last.serve("3", world("v1"))
        await calls.only("v1", 50)
    assert calls.failed == []


@pytest.mark.parametrize("kill", AMID_A_CHANGE.values(), ids=AMID_A_CHANGE)
async def test_it_dies_amid_a_change(
    kill: Kill, call: Any, control_plane: Any, heir: Any, world: Any, load: Any
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"
    async with load(call) as calls:
        last, died = await heir(kill, control_plane, "2")
        change = asyncio.ensure_future(control_plane.serve("2", world("v2")))
        await asyncio.wait_for(died, PATIENCE)
        await asyncio.gather(change, return_exceptions=True)  # it may not live to answer
        await calls.only("v2", 50)
        await last.serve("3", world("v1"))
        await calls.only("v1", 50)
    assert calls.failed == []
