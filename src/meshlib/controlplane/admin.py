"""The admin interface: health, and who runs on what. Read-only HTTP."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ..xds.protos import to_json
from .status import Client, Status, short

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Admin:
    def __init__(self, status: Status, listen: str) -> None:
        self._status = status
        self._host, _, port = listen.rpartition(":")
        self._port = int(port)
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen; returns ``host:port`` with the real port."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/api/v1/status", self._get_status)
        app.router.add_get("/api/v1/config", self._get_config)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host.strip("[]"), self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        return f"{self._host}:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A web page that gave its own name our address must not read this (DNS rebinding)."""
        name = request.host.rpartition(":")[0] or request.host
        if self._host in LOOPBACK and name not in LOOPBACK:
            raise web.HTTPForbidden(text=f"host {name!r} is not this machine's loopback\n")
        return await handler(request)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        ready = bool(self._status.version)
        return web.Response(
            text="ready\n" if ready else "no config\n", status=200 if ready else 503
        )

    async def _get_status(self, request: web.Request) -> web.Response:
        return web.json_response(self._status.to_dict())

    async def _get_config(self, request: web.Request) -> web.Response:
        node = request.query.get("node", "")
        streams = [client for client in self._status.clients if client.node.id == node]
        if not streams:
            known = sorted({client.node.id for client in self._status.clients})
            return web.json_response({"error": f"no client {node!r}", "clients": known}, status=404)
        return web.json_response({"node": node, "streams": list(map(_served, streams))})


def _served(client: Client) -> dict[str, Any]:
    return {
        "peer": client.peer,
        "types": {
            short(type_url): {
                "version": state.sent_version,
                "resources": [to_json(resource.packed) for resource in state.sent.values()],
            }
            for type_url, state in client.subscriptions.types.items()
        },
    }
