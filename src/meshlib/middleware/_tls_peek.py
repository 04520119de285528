"""Is a new connection encrypted? Its first byte says, and stays where it is."""

import asyncio
import socket

PATIENCE = 10.0
"""Seconds that a caller may take to begin."""
HANDSHAKE = 0x16
UNDER_WAY = 1024
WHILE_FULL = 1.0
"""Seconds to wait when there are no descriptors left, as asyncio does."""


class Undecided:
    """Connections of which it is not yet known what they are.

    Of too many the oldest goes, not the newest: who means it has said what he wants long since, and
    those who say nothing must not keep others out.
    """

    def __init__(self, most: int = UNDER_WAY) -> None:
        self._most = most
        self._tasks: dict[asyncio.Task[None], None] = {}

    def add(self, task: "asyncio.Task[None]", connection: socket.socket) -> None:
        while len(self._tasks) >= self._most:
            oldest = next(iter(self._tasks))
            del self._tasks[oldest]
            oldest.cancel()
        self._tasks[task] = None
        task.add_done_callback(self.settle)
        task.add_done_callback(lambda done: connection.close() if done.cancelled() else None)

    def settle(self, task: "asyncio.Task[None] | None") -> None:
        if task is not None:
            self._tasks.pop(task, None)


async def first_byte(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    """Without taking it; "" when the caller has gone. Raises :class:`TimeoutError`."""
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        pass
    readable = loop.create_future()
    loop.add_reader(connection.fileno(), _settle, readable)
    try:
        async with asyncio.timeout(PATIENCE):
            await readable
    finally:
        loop.remove_reader(connection.fileno())
    return connection.recv(1, socket.MSG_PEEK)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def is_tls(first: bytes) -> bool:
    return first[:1] == bytes([HANDSHAKE])
