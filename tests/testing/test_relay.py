"""A relay that breaks lines elsewhere than it says proves nothing of those who survive it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from meshlib.testing.relay import ACCEPTED, DATA, Frame, Line, Point, Relay

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 20.0


def data(said: bytes) -> bytes:
    return len(said).to_bytes(3) + bytes([DATA, 0, 0, 0, 0, 1]) + said


SAYS = data(b"one") + data(b"two") + data(b"three")


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """Before one that hears the preface, says three frames, and waits for the end."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(PREFACE))
        writer.write(SAYS)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Relay(f"127.0.0.1:{port}") as relay:
            yield relay


async def greet(relay: Relay) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*relay.address.split(":"))
    writer.write(PREFACE)
    return reader, writer


async def heard(relay: Relay) -> bytes:
    """All that a client hears until the end."""
    reader, writer = await greet(relay)
    async with asyncio.timeout(PATIENCE):
        said = await reader.read()
    writer.close()
    return said


def cutting(passes: int):
    async def cut(line: Line, frame: Frame) -> bytes:
        line.say(frame.whole[:passes])
        line.cut()
        return b"never said"

    return cut


@pytest.mark.parametrize(
    ("point", "passes", "said"),
    [
        (Point(ACCEPTED, of_plane=False), 0, b""),
        (Point(DATA), 0, b""),
        (Point(DATA), 4, data(b"one")[:4]),
        (Point(DATA), 99, data(b"one")),
        (Point(DATA, nth=2), 0, data(b"one")),
        (Point(DATA, holding=b"three"), 0, data(b"one") + data(b"two")),
    ],
)
async def test_a_line_is_cut_at_its_point(
    relay: Relay, point: Point, passes: int, said: bytes
) -> None:
    cut = relay.at(point, cutting(passes))
    assert await heard(relay) == said
    assert cut.done()


async def test_other_words_stand_in_for_a_frame(relay: Relay) -> None:
    async def lie(line: Line, frame: Frame) -> bytes:
        return frame.saying(b"a", b"bc")

    relay.at(Point(DATA, nth=2), lie)
    relay_says = data(b"one") + data(b"\0\0\0\0\1a" + b"\0\0\0\0\2bc") + data(b"three")
    reader, writer = await greet(relay)
    async with asyncio.timeout(PATIENCE):
        assert await reader.readexactly(len(relay_says)) == relay_says
    writer.close()


async def test_each_connection_comes_to_the_point_anew(relay: Relay) -> None:
    cut = relay.at(Point(DATA), cutting(0), times=2)
    assert await heard(relay) == b""
    assert not cut.done()
    assert await heard(relay) == b""
    assert cut.done()
    assert relay.connections == 2


async def test_a_hushed_line_stays_open(relay: Relay) -> None:
    async def hush(line: Line, frame: Frame) -> bytes:
        line.hush()
        return frame.whole

    hushed = relay.at(Point(DATA, nth=2), hush)
    reader, writer = await greet(relay)
    async with asyncio.timeout(PATIENCE):
        assert await reader.readexactly(len(data(b"one"))) == data(b"one")
        await hushed
    assert not reader.at_eof()
    relay.cut()
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b"", "nothing came through before the end"
    writer.close()


async def test_what_goes_wrong_at_a_point_is_told(relay: Relay) -> None:
    async def fail(line: Line, frame: Frame) -> bytes:
        raise ValueError("odd")

    failed = relay.at(Point(DATA), fail)
    _, writer = await greet(relay)
    with pytest.raises(ValueError, match="odd"):
        await asyncio.wait_for(failed, PATIENCE)
    writer.close()
