"""Is a new connection encrypted? Its first byte says, and stays where it is."""

import asyncio
import socket

PATIENCE = 10.0
"""Seconds that a caller may take to begin."""
HANDSHAKE = 0x16


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
