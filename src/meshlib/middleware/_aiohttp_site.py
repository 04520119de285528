"""A listening socket for callers with TLS, without, or both, as the configuration has it."""

import asyncio
import logging
import socket
import ssl
from typing import Any

from aiohttp import web

from ..identity.credentials import IdentityError
from ._drive import Runtime
from ._tls_peek import WHILE_FULL, Undecided, first_byte, is_tls

log = logging.getLogger("meshlib")

HANDSHAKE_TIMEOUT = 10.0


class MeshSite(web.BaseSite):
    """Asks at each connection what holds, so a change of policy needs no restart."""

    def __init__(
        self,
        runner: web.BaseRunner,
        runtime: Runtime,
        host: str | None,
        port: int,
        *,
        backlog: int = 128,
        reuse_port: bool | None = None,
    ) -> None:
        super().__init__(runner, backlog=backlog)
        self._runtime = runtime
        self._inbound = runtime.security.inbound
        self._context: ssl.SSLContext | None = None
        self._host = host
        self._reuse_port = bool(reuse_port)
        self.port = port
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._undecided = Undecided()

    @property
    def name(self) -> str:
        host = self._host or "0.0.0.0"  # noqa: S104 - as aiohttp calls it
        scheme = "http" if self._inbound.modes.at(self.port).plaintext else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        await super().start()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._runtime.start)
        passive = socket.AI_PASSIVE
        found = await loop.getaddrinfo(
            self._host or None, self.port, type=socket.SOCK_STREAM, flags=passive
        )
        for family, _, _, _, address in dict.fromkeys(found):
            self._sockets.append(self._bound(family, address))
        self._context = self._inbound.context(self.port)
        for listening in self._sockets:
            self._spawn(self._accept(listening))

    def _bound(self, family: int, address: Any) -> socket.socket:
        made = socket.create_server(
            (address[0], self.port),
            family=family,
            backlog=self._backlog,
            reuse_port=self._reuse_port,
        )
        made.setblocking(False)
        self.port = made.getsockname()[1]
        return made

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listening in self._sockets:
            listening.close()
        self._sockets.clear()
        await super().stop()

    def _spawn(self, coroutine: Any) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError:
                log.exception("a connection could not be accepted")
                await asyncio.sleep(WHILE_FULL)
                continue
            self._undecided.add(self._spawn(self._admit(connection)), connection)

    async def _admit(self, connection: socket.socket) -> None:
        """Hand it to aiohttp, or close it."""
        try:
            connection.setblocking(False)
            context = await self._context_for(connection)
            loop, server = asyncio.get_running_loop(), self._runner.server
            assert server is not None
            timeout = None if context is None else HANDSHAKE_TIMEOUT
            await loop.connect_accepted_socket(
                server, connection, ssl=context, ssl_handshake_timeout=timeout
            )
        except (OSError, TimeoutError, IdentityError) as error:
            connection.close()
            log.debug("a connection was turned away: %s", error)
        except asyncio.CancelledError:
            connection.close()
            raise

    async def _context_for(self, connection: socket.socket) -> ssl.SSLContext | None:
        modes, port = self._inbound.modes, self.port
        if modes.at(port).tls is None:
            return None  # who may not come in is told so when he says what he wants
        secure = is_tls(await first_byte(asyncio.get_running_loop(), connection))
        if not secure and not modes.at(port).plaintext:
            raise ConnectionError("plain text is not let in")
        return self._context if secure else None
