"""The door to aiohttp: what ``mesh.aiohttp`` offers."""

import logging
from collections.abc import Awaitable, Callable
from itertools import takewhile
from typing import Any

import aiohttp
from aiohttp import web

from ._aiohttp_connector import MeshConnector
from ._aiohttp_errors import MeshConnectionError, MeshTimeoutError
from ._aiohttp_run import run
from ._aiohttp_site import MeshSite
from ._aiohttp_socket import MeshWebSocket
from ._drive import Runtime
from .aiohttp_client import Middleware, client_middleware
from .aiohttp_server import MISREAD, PARSES_IN_C, respond, server_middleware

__all__ = ["AiohttpHooks", "MeshConnectionError", "MeshTimeoutError"]

log = logging.getLogger("meshlib")

PORT = 9080
Cleanup = Callable[[web.Application], Awaitable[None]]


INSTRUMENTORS = "opentelemetry.instrumentation."


class AiohttpHooks:
    """``cleanup`` is run when an application that was set up here is cleaned up."""

    def __init__(self, runtime: Runtime, *, cleanup: Cleanup | None = None) -> None:
        self._runtime = runtime
        self._cleanup = cleanup
        self._client = client_middleware(runtime)
        self._server = server_middleware(runtime)

    def session(self, **kw: Any) -> aiohttp.ClientSession:
        """A session of the mesh; takes what ``aiohttp.ClientSession`` takes.

        Middlewares given here stay outside of the mesh: they see each call once, not each attempt.
        """
        connector = kw.pop("connector", None) or self.connector()
        kw.setdefault("ws_response_class", MeshWebSocket)
        middlewares = (*kw.pop("middlewares", ()), self._client)
        session = aiohttp.ClientSession(connector=connector, middlewares=middlewares, **kw)
        if isinstance(connector, MeshConnector):
            # Stale connections are seen to within the attempt; a second round of everything
            # would undo what the route says about retries.
            session._retry_connection = False  # noqa: SLF001
        return session

    def client_middleware(self) -> Middleware:
        """For a session of one's own: make it the last, so that the others see calls as made."""
        return self._client

    def connector(self, **kw: Any) -> aiohttp.TCPConnector:
        """The connections of one session; how many is for the circuit breakers to say."""
        return MeshConnector(self._runtime, **{"limit": 0, **kw})

    def setup(self, app: web.Application) -> None:
        """Make an application a server of the mesh; a second time does nothing."""
        if self._server in app.middlewares:
            return
        self._runtime.serve()
        if not PARSES_IN_C:
            log.warning("%s: with policies in force it answers 503", MISREAD)
        app.middlewares.insert(_tracers(app), self._server)
        app.on_startup.append(self._begin)
        app.on_response_prepare.append(respond)
        if self._cleanup is not None:
            app.on_cleanup.append(self._cleanup)

    async def _begin(self, _app: web.Application) -> None:
        self._runtime.start()

    def run_app(
        self,
        app: web.Application | Awaitable[web.Application],
        *,
        host: str | None = None,
        port: int | None = None,
        **kw: Any,
    ) -> None:
        """``web.run_app`` in the mesh: on SIGTERM accepts no more, and finishes what it has.

        Listens on :data:`PORT` when nothing is said of where.
        """
        elsewhere = {"path", "sock"} & kw.keys()
        if self._runtime.credentials is not None and not (elsewhere or "ssl_context" in kw):
            run(self._set_up(app), self.site, host, PORT if port is None else port, **kw)
            return
        if port is None and not elsewhere:
            port = PORT
        web.run_app(self._set_up(app), host=host, port=port, **kw)

    async def _set_up(self, app: web.Application | Awaitable[web.Application]) -> web.Application:
        made = app if isinstance(app, web.Application) else await app
        self.setup(made)
        return made

    def site(
        self, runner: web.BaseRunner, host: str | None = None, port: int = PORT, **kw: Any
    ) -> web.BaseSite:
        """A listening socket of the mesh for a runner whose application was set up.

        Encrypted or not as the configuration says (PeerAuthentication), from one connection to the
        next; with an ``ssl_context`` of your own that is the one.
        """
        if self._runtime.credentials is None or "ssl_context" in kw:
            return web.TCPSite(runner, host, port, **kw)
        return MeshSite(runner, self._runtime, host, port, **kw)


def _tracers(app: web.Application) -> int:
    """How many middlewares of OpenTelemetry's stand outside: what they trace is traced once."""
    rooms = (getattr(one, "__module__", "") for one in app.middlewares)
    return len(list(takewhile(lambda room: room.startswith(INSTRUMENTORS), rooms)))
