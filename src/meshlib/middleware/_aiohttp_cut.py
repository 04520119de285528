"""Connections of a session to servers that have proven who they are, and may lose that again."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler

from ..identity.credentials import Credentials
from ..identity.leaf import life_of
from ..identity.tls import CheckedObject
from ._tls_lines import REVOKED


class Cutter:
    """Those of one event loop. Whatever is asked or answered over them breaks off."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connections: WeakSet[ResponseHandler] = WeakSet()

    def add(self, connection: ResponseHandler) -> bool:
        """Whether a member answers there, whom the deny set may name."""
        if not _proven(connection):
            return False
        self._connections.add(connection)
        return True

    def look(self, credentials: Credentials) -> None:
        if not credentials.revoked:
            return
        with suppress(RuntimeError):  # the loop was closed, and its connections with it
            self._loop.call_soon_threadsafe(_cut, self._connections, credentials.revoked)


def _cut(connections: Iterable[ResponseHandler], revoked: frozenset[str]) -> None:
    for connection in list(connections):
        if not revoked.isdisjoint(_proven(connection)):
            break_off(connection)


def _proven(connection: ResponseHandler) -> frozenset[str]:
    """The id and the serial, by which the server may be revoked."""
    transport = connection.transport
    peer = None if transport is None else transport.get_extra_info("ssl_object")
    if not isinstance(peer, CheckedObject) or not peer.spiffe_id:
        return frozenset()
    return life_of(peer.shown)[1]


def break_off(connection: ResponseHandler) -> None:
    """The end of the connection is not to look like the end of a body of unknown length, so the
    parser must not hear of it."""
    error, transport = aiohttp.ClientOSError(REVOKED), connection.transport
    body, connection._payload, connection._parser = connection._payload, None, None  # noqa: SLF001
    connection.set_exception(error)
    if body is not None:
        body.set_exception(error)
    if transport is not None:
        transport.abort()
