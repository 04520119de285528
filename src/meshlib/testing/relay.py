"""Stands between a client and a control plane, and breaks their line at a frame of one's choice.

Frames are those of HTTP/2 (RFC 9113, section 4.1), so that "in the midst of the first response"
is the same moment each time.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

# Types of frames; the first is ours, for a connection that nothing was said on yet.
ACCEPTED, DATA, HEADERS, SETTINGS = -1, 0, 1, 4
_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_HEAD = 9
_PREFIX = 5  # of a gRPC message: is it compressed, and its length

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Deed = Callable[["Line", "Frame"], Awaitable[bytes]]
"""What is done at a point; what it returns passes in place of the frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """As it goes on the wire; ``of_plane`` is whose it is."""

    kind: int
    whole: bytes
    of_plane: bool

    def messages(self) -> Iterator[bytes]:
        """The gRPC messages of a DATA frame that has whole ones."""
        left = self.whole[_HEAD:]
        while left:
            end = _PREFIX + int.from_bytes(left[1:_PREFIX])
            yield left[_PREFIX:end]
            left = left[end:]

    def saying(self, *messages: bytes) -> bytes:
        """The same frame with other messages."""
        said = b"".join(b"\0" + len(each).to_bytes(4) + each for each in messages)
        return len(said).to_bytes(3) + self.whole[3:_HEAD] + said


@dataclass(frozen=True, slots=True)
class Point:
    """The ``nth`` frame of a kind that one side says on a connection, of those with ``holding``."""

    kind: int
    of_plane: bool = True
    nth: int = 1
    holding: bytes = b""

    def is_such(self, frame: Frame) -> bool:
        alike = (frame.kind, frame.of_plane) == (self.kind, self.of_plane)
        return alike and self.holding in frame.whole


class Line:
    """One connection. What does not go over it any more was cut, or is lost without a word."""

    def __init__(self, near: Ends) -> None:
        self._near = near
        self._far: Ends | None = None
        self._hushed = False

    def say(self, said: bytes, *, to_plane: bool = False) -> None:
        end = self._far if to_plane else self._near
        if end is not None and not self._hushed:
            with suppress(ConnectionError):
                end[1].write(said)

    def hush(self) -> None:
        """Half open: both sides believe in a connection that carries nothing."""
        self._hushed = True

    def cut(self) -> None:
        """What was said to the client reaches it, for the end is no reset."""
        self._hushed = True
        if self._far is not None:
            self._far[1].close()
        with suppress(OSError):
            self._near[1].write_eof()

    def close(self) -> None:
        self.cut()
        self._near[1].close()

    async def flow(self, port: int, pass_on: Deed) -> None:
        """Until either side ends it."""
        await pass_on(self, Frame(ACCEPTED, b"", of_plane=False))
        try:
            self._far = reader, _ = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(self._from_client(pass_on), self._from_plane(pass_on, reader))
        except ConnectionError:
            pass  # nobody listens
        finally:
            self.close()

    async def _from_client(self, pass_on: Deed) -> None:
        reader, _ = self._near
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            self.say(await reader.readexactly(_PREFACE), to_plane=True)
            async for frame in _frames(reader, of_plane=False):
                self.say(await pass_on(self, frame), to_plane=True)
        self.cut()

    async def _from_plane(self, pass_on: Deed, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            async for frame in _frames(reader, of_plane=True):
                self.say(await pass_on(self, frame))
        self.cut()


async def _frames(reader: asyncio.StreamReader, *, of_plane: bool) -> AsyncIterator[Frame]:
    while True:
        head = await reader.readexactly(_HEAD)
        rest = await reader.readexactly(int.from_bytes(head[:3]))
        yield Frame(head[3], head + rest, of_plane)


@dataclass(slots=True)
class _Trap:
    point: Point
    deed: Deed
    left: int
    sprung: asyncio.Future[None]
    met: Counter[Line]


class Relay:
    """``async with Relay() as relay``; ``upstream`` is where new connections lead, ``host:port``.

    ``connections`` counts those that clients made.
    """

    def __init__(self, upstream: str = "127.0.0.1:1") -> None:
        self.upstream = upstream
        self.connections = 0
        self._lines: dict[Line, asyncio.Task[None]] = {}
        self._trap: _Trap | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        while self._lines:
            for line in self._lines:
                line.close()
            await asyncio.wait(self._lines.values())
        await self._server.wait_closed()

    def at(self, point: Point, deed: Deed, *, times: int = 1) -> asyncio.Future[None]:
        """Do it wherever a connection comes to the point; done when it was done so often.

        It raises what the deed raised.
        """
        sprung = asyncio.get_running_loop().create_future()
        self._trap = _Trap(point, deed, times, sprung, Counter())
        return sprung

    def cut(self) -> None:
        """End all connections; clients may come again."""
        for line in tuple(self._lines):
            line.cut()

    def hush(self) -> None:
        """All connections of now are half open."""
        for line in self._lines:
            line.hush()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        line = Line((reader, writer))
        task = asyncio.current_task()
        assert task is not None
        self._lines[line] = task
        try:
            await line.flow(int(self.upstream.rpartition(":")[2]), self._pass_on)
        finally:
            del self._lines[line]

    async def _pass_on(self, line: Line, frame: Frame) -> bytes:
        trap = self._trap
        if trap is None or not trap.point.is_such(frame):
            return frame.whole
        trap.met[line] += 1
        if trap.met[line] != trap.point.nth:
            return frame.whole
        trap.left -= 1
        if not trap.left:
            self._trap = None
        return await self._spring(trap, line, frame)

    async def _spring(self, trap: _Trap, line: Line, frame: Frame) -> bytes:
        try:
            said = await trap.deed(line, frame)
        except Exception as error:  # noqa: BLE001 - it is told to who set the trap
            if not trap.sprung.done():
                trap.sprung.set_exception(error)
            line.cut()
            return b""
        if not trap.left and not trap.sprung.done():
            trap.sprung.set_result(None)
        return said
