"""TLS for a gRPC server: for those who show a certificate, and for those who have none yet.

gRPC core either demands a certificate of everybody or asks nobody for one. So TLS ends here, and
the bytes go on by a socket file in a folder that no other user can get at. By the name of our end
of such a connection the server asks who is at its other end.
"""

import asyncio
import itertools
import logging
import shutil
import socket
import ssl
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MeshError
from ..identity.authenticators import Caller
from ..identity.credentials import UntrustedError
from ..identity.leaf import Leaf
from ..identity.tls import CheckedObject

LOG = logging.getLogger("meshlib.controlplane")

PATIENCE = 10.0
CHUNK = 1 << 16
CONNECTIONS = 10_000
STRANGERS = 256
"""Of the connections without a certificate the oldest goes when there are more."""
STAY = 30.0
"""Seconds that suffice to get a first certificate."""

Believe = Callable[[bytes], Leaf]
"""Looks at a chain in PEM; raises :class:`UntrustedError`."""


@dataclass(frozen=True, slots=True)
class Connected:
    address: str
    chain: bytes = b""
    uid: int | None = None
    secure: bool = True


class Front:
    """``context`` decides at the handshake, ``believe`` again at each call. Belongs to one event
    loop. ``socket_file`` is for users of this machine, in plain text."""

    def __init__(
        self, context: ssl.SSLContext, believe: Believe, socket_file: Path | None = None
    ) -> None:
        self._context = context
        self._believe = believe
        self._socket_file = socket_file
        self._folder = Path()
        self._servers: list[asyncio.Server] = []
        self._connected: dict[str, Connected] = {}
        self._tasks: dict[asyncio.Task[Any], str] = {}
        self._strangers: dict[asyncio.Task[Any], None] = {}
        self._numbers = itertools.count()

    def open(self) -> str:
        """Where the server itself is to listen."""
        self._folder = Path(tempfile.mkdtemp(prefix="meshlib-"))  # for its owner alone
        return f"unix:{self._folder}/server"

    async def start(self, listen: str) -> int:
        """Returns the port. Raises :class:`MeshError` if the address cannot be had."""
        host, _, port = listen.rpartition(":")
        try:
            server = await asyncio.start_server(
                self._serve,
                host.strip("[]"),
                int(port),
                ssl=self._context,
                ssl_handshake_timeout=PATIENCE,
                limit=CHUNK,
            )
        except OSError as error:
            raise MeshError(f"cannot listen on {listen}: is the port taken?") from error
        self._servers.append(server)
        if self._socket_file is not None:
            await self._start_local(self._socket_file)
        found: int = server.sockets[0].getsockname()[1]
        return found

    async def _start_local(self, path: Path) -> None:
        try:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            self._servers.append(await asyncio.start_unix_server(self._serve, path, limit=CHUNK))
        except OSError as error:
            raise MeshError(f"cannot listen on {path}: {error.strerror}") from error

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket_file is not None:
            await asyncio.to_thread(self._socket_file.unlink, missing_ok=True)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def look_again(self) -> None:
        """Who is believed no more: the connections of those are cut."""
        for task, name in tuple(self._tasks.items()):
            found = self._connected.get(name)
            if found is not None and found.chain:
                try:
                    self._believe(found.chain)
                except UntrustedError as refused:
                    LOG.warning("a connection of %s is cut: %s", found.address, refused)
                    task.cancel()

    def caller(self, grpc_call: Any) -> Caller:
        """Of a call to the server behind."""
        found = self._connected.get(grpc_call.peer())
        if found is None:
            return Caller("unknown", refusal="it has not come by the front")
        leaf, refusal = None, ""
        if found.chain:
            try:
                leaf = self._believe(found.chain)
            except UntrustedError as error:
                refusal = str(error)
        return Caller(found.address, leaf, refusal, uid=found.uid, secure=found.secure)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        name = f"{self._folder}/{next(self._numbers)}"
        self._tasks[task] = f"unix:{name}"
        try:
            if len(self._connected) >= CONNECTIONS:
                LOG.warning("%d connections are open, the most", CONNECTIONS)
                return
            found = self._connected[f"unix:{name}"] = _connected(writer)
            is_stranger = not found.chain and found.uid is None
            if is_stranger:
                self._admit_stranger(task)
            async with asyncio.timeout(STAY if is_stranger else None):
                await self._hand_on(name, reader, writer)
        except (OSError, EOFError) as error:
            LOG.debug("a connection broke: %s", error)
        except asyncio.CancelledError:  # it ends here; Python 3.11 complains of cancelled ones
            LOG.debug("a connection is cut")
        finally:
            self._connected.pop(f"unix:{name}", None)
            self._tasks.pop(task, None)
            self._strangers.pop(task, None)
            writer.transport.abort()

    def _admit_stranger(self, task: "asyncio.Task[Any]") -> None:
        """Those who cannot say who they are must not keep out those who can."""
        while len(self._strangers) >= STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.cancel()
        self._strangers[task] = None

    async def _hand_on(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        onward = socket.socket(socket.AF_UNIX)
        onward.setblocking(False)
        try:
            onward.bind(name)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(onward, f"{self._folder}/server")
        except BaseException:
            onward.close()
            raise
        finally:
            Path(name).unlink(missing_ok=True)  # noqa: ASYNC240 - a file without content
        back, forth = await asyncio.open_unix_connection(sock=onward, limit=CHUNK)
        ways = {
            asyncio.ensure_future(_pump(reader, forth)),
            asyncio.ensure_future(_pump(back, writer)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            forth.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Until either end is gone: gRPC never closes one half alone."""
    while chunk := await source.read(CHUNK):
        sink.write(chunk)
        await sink.drain()
    with suppress(OSError):
        sink.close()
        await sink.wait_closed()


def _connected(writer: asyncio.StreamWriter) -> Connected:
    secured = writer.get_extra_info("ssl_object")
    if secured is None:
        return Connected("unix", uid=_uid(writer), secure=True)
    chain = secured.shown if isinstance(secured, CheckedObject) else b""
    return Connected(writer.get_extra_info("peername")[0], chain)


def _uid(writer: asyncio.StreamWriter) -> int | None:
    """Linux says who has connected; elsewhere nobody is known by it."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    size = struct.calcsize("3i")
    found = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    uid: int = struct.unpack("3i", found)[1]
    return uid
