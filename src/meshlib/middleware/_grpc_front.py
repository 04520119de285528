"""One port for callers with TLS and without: looks at the first byte, and hands bytes on.

A connection cannot be handed to gRPC core once it is open, so the server listens at two sockets of
files, that no other user can get at, and this stands before them. TLS stays end to end. On a
selector loop and thread of its own: uvloop gets the sockets' ownership wrong here.
"""

import asyncio
import itertools
import logging
import shutil
import socket
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from ._grpc_place import HANDED_ON, NAMES
from ._tls_inbound import InboundSecurity
from ._tls_peek import WHILE_FULL, Undecided, first_byte, is_tls

log = logging.getLogger("meshlib")

CHUNK = 1 << 16
BACKLOG = 1024


class Front:
    def __init__(self, inbound: InboundSecurity, address: str) -> None:
        self._inbound = inbound
        self._folder = Path(tempfile.mkdtemp(prefix="meshlib-"))  # for its owner alone
        self.secure = self._folder / "tls"
        self.plain = self._folder / "plain"
        self._listening = _listening(address)
        self.port: int = self._listening.getsockname()[1]
        self._numbers = itertools.count()
        self._loop = asyncio.SelectorEventLoop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._undecided = Undecided()
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def start(self, server: Any) -> None:
        """Until the server is gone."""
        threading.Thread(target=self._run, name="meshlib-grpc-front", daemon=True).start()
        weakref.finalize(server, _stop, self._loop)

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.create_task(self._accept())
            loop.run_forever()
        finally:
            self._listening.close()
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    async def _accept(self) -> None:
        loop = self._loop
        while True:
            try:
                connection, address = await loop.sock_accept(self._listening)
            except OSError:
                log.exception("a connection could not be accepted")
                await asyncio.sleep(WHILE_FULL)
                continue
            task = loop.create_task(self._serve(connection, address))
            self._tasks.add(task)
            self._undecided.add(task, connection)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, address: Any) -> None:
        with connection:
            modes = self._inbound.modes
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                begins = await first_byte(self._loop, connection)
                self._undecided.settle(asyncio.current_task())
                secure = is_tls(begins)
                if not begins or not (secure or modes.at(self.port).plaintext):
                    return
                with socket.socket(socket.AF_UNIX) as onward:
                    onward.setblocking(False)
                    self._name(onward, connection, address)
                    await self._connect(onward, self.secure if secure else self.plain)
                    await self._exchange(connection, onward)
            except (OSError, TimeoutError) as error:
                log.debug("a connection from %s broke: %s", address, error)

    def _name(self, onward: socket.socket, connection: socket.socket, address: Any) -> None:
        """The server reads off the name of our socket whence and where the caller came."""
        if NAMES:
            caller, here = _shown(address), _shown(connection.getsockname())
            onward.bind(f"\0{HANDED_ON}{caller}/{here}/{next(self._numbers)}-{id(self):x}")

    async def _connect(self, onward: socket.socket, path: Path) -> None:
        while True:
            try:
                await self._loop.sock_connect(onward, str(path))
            except BlockingIOError:  # its backlog is full
                await asyncio.sleep(0.001)
            else:
                return

    async def _exchange(self, one: socket.socket, other: socket.socket) -> None:
        ways = [
            self._loop.create_task(self._pump(one, other)),
            self._loop.create_task(self._pump(other, one)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        # Who says nothing costs no memory: there is none before there is something to read.
        while chunk := await self._loop.sock_recv(source, CHUNK):
            await self._loop.sock_sendall(sink, chunk)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def _shown(name: Any) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with suppress(RuntimeError):  # it has ended already
        loop.call_soon_threadsafe(loop.stop)


def _listening(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host in ("", "::") and socket.has_dualstack_ipv6()
    made = socket.create_server(
        (host, int(port)),
        family=socket.AF_INET6 if both else family,
        backlog=BACKLOG,
        dualstack_ipv6=both,
    )
    made.setblocking(False)
    return made
