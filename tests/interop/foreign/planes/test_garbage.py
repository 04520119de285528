"""Garbage, on the wire and in messages: what worked works on, and little is spent on it."""

import asyncio
import gc
import random
from collections.abc import Callable
from typing import Any

import pytest

from meshlib.testing.relay import DATA, Frame, Line, Point
from meshlib.xds.messages import DISCOVERY
from meshlib.xds.protos import message_class
from meshlib.xds.types import LISTENER

pytestmark = pytest.mark.interop
PATIENCE = 20.0
TIMES = 12
BYTES = {
    "HTTP/1": b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n",
    "noise": b"\xa5" + random.Random(7).randbytes(4096),
    "a frame without end": b"\xff\xff\xff\0\0\0\0\0\1" + bytes(4096),
}


@pytest.fixture
def place(relay: Any) -> str:
    return relay.address


@pytest.mark.parametrize("said", BYTES.values(), ids=BYTES)
async def test_garbage_after_a_response_costs_a_connection_and_no_call(
    said: bytes, call: Any, control_plane: Any, relay: Any, waits: Any, world: Any, load: Any
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"

    async def babble(_: Line, frame: Frame) -> bytes:
        return frame.whole + said

    async with load(call) as calls:
        babbled = relay.at(Point(DATA), babble)
        await control_plane.serve("2", world("v2"))
        await asyncio.wait_for(babbled, PATIENCE)
        await calls.only("v2", 50)
        await control_plane.serve("3", world("v1"))
        await calls.only("v1", 50)
    assert calls.failed == []
    assert relay.connections == 2
    assert waits == [0.0]


@pytest.mark.parametrize("said", BYTES.values(), ids=BYTES)
async def test_who_speaks_nothing_but_garbage_is_called_less_and_less(
    said: bytes,
    call: Any,
    control_plane: Any,
    relay: Any,
    streams: Any,
    waits: Any,
    world: Any,
    load: Any,
    until: Any,
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"

    async def babble(line: Line, frame: Frame) -> bytes:
        line.say(said)
        return frame.whole

    async with load(call) as calls:
        babbled = relay.at(Point(DATA, of_plane=False), babble, times=TIMES)
        relay.cut()
        await asyncio.wait_for(babbled, PATIENCE)
        await control_plane.serve("2", world("v2"))
        await calls.only("v2", 50)
    assert calls.failed == []
    assert relay.connections == 1 + TIMES + 1
    assert waits == [0.0, *(pytest.approx(min(1.6**n, 120), rel=0.2) for n in range(TIMES))]

    async def is_forgotten() -> bool:
        gc.collect()
        return len(streams) == 1

    await until(is_forgotten)


def other_resources(change: Callable[[Any], object]) -> Callable[[bytes, str], list[bytes]]:
    """The response with something wrong in what each resource holds."""

    def said(message: bytes, kind: str) -> list[bytes]:
        response = message_class(f"{DISCOVERY}.{kind}").FromString(message)
        for each in response.resources:
            change(each.resource if kind == "DeltaDiscoveryResponse" else each)
        return [response.SerializeToString()]

    return said


def unreadable(packed: Any) -> None:
    packed.value = b"\xff\xff\xff"


def misnamed(packed: Any) -> None:
    packed.type_url = "type.googleapis.com/envoy.config.core.v3.Node"


def unknown(packed: Any) -> None:
    packed.type_url = "type.googleapis.com/nobody.knows.This"


def of_unknown_type(message: bytes, kind: str) -> list[bytes]:
    other = message_class(f"{DISCOVERY}.{kind}")(type_url="nobody.knows/This", nonce="x")
    other.resources.add()
    return [other.SerializeToString(), message]


REFUSED = {
    "resources that cannot be read": other_resources(unreadable),
    "resources of another type": other_resources(misnamed),
    "resources of an unknown type": other_resources(unknown),
}
ENDURED = {
    "no protobuf": lambda message, _: [b"\xff" * len(message)],
    "nothing": lambda message, _: [b"", message],
    "an unknown type": of_unknown_type,
}


@pytest.mark.parametrize("said", [*REFUSED.values(), *ENDURED.values()], ids=[*REFUSED, *ENDURED])
async def test_a_message_of_garbage_leaves_in_force_what_is(
    said: Any,
    call: Any,
    control_plane: Any,
    encoding: str,
    law: Any,
    relay: Any,
    world: Any,
    load: Any,
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"
    kind = "DeltaDiscoveryResponse" if encoding == "delta" else "DiscoveryResponse"

    async def lie(_: Line, frame: Frame) -> bytes:
        return frame.saying(*(lie for each in frame.messages() for lie in said(each, kind)))

    async with load(call) as calls:
        lied = relay.at(Point(DATA, holding=LISTENER.encode()), lie)
        await control_plane.serve("2", world("v1", edition="garbled"))
        await asyncio.wait_for(lied, PATIENCE)
        await control_plane.serve("3", world("v2"))
        await calls.only("v2", 50)
    assert calls.failed == []
    assert relay.connections == 1 + (said is ENDURED["no protobuf"])
    assert all(is_ack for _, _, is_ack in law.answers) is (said not in REFUSED.values())
