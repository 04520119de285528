"""The admin interface: health, and who runs on what. Read-only HTTP."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ..errors import ConfigError, Problem
from ..exposition import TEXT
from ..xds.protos import to_json
from .redacted import redacted
from .status import Client, Status
from .type_names import SHORT, short
from .type_subscription import TypeSubscription

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
OPEN = ("/healthz", "/readyz")
"""What an orchestrator asks, which has no token."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Admin:
    """``token`` is asked of everybody if there is one; elsewhere than on loopback it must be.

    Raises :class:`ConfigError` if it would show a mesh to whoever reaches it.
    """

    def __init__(self, status: Status, listen: str, *, token: str | None = None) -> None:
        self._status = status
        self._host, _, port = listen.rpartition(":")
        self._port = int(port)
        self._token = token
        self._runner: web.AppRunner | None = None
        if not token and self._host not in LOOPBACK:
            said = f"{listen} is not loopback: an admin token is needed (MESHLIB_ADMIN_TOKEN)"
            raise ConfigError(Problem("ControlPlane: admin", said))

    async def start(self) -> str:
        """Listen; returns ``host:port`` with the real port."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/api/v1/status", self._get_status)
        app.router.add_get("/api/v1/clients", self._get_clients)
        app.router.add_get("/api/v1/clients/{client}", self._get_client)
        app.router.add_get("/api/v1/loads", self._get_loads)
        app.router.add_get("/api/v1/config/{client}", self._get_config)
        app.router.add_get("/api/v1/config/{client}/{type}", self._get_config)
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
        if self._token and request.path not in OPEN:
            given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                asked = {"WWW-Authenticate": "Bearer"}
                raise web.HTTPUnauthorized(text="the admin token is wanted\n", headers=asked)
        return await handler(request)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        ready = bool(self._status.version)
        return web.Response(
            text="ready\n" if ready else "no config\n", status=200 if ready else 503
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        content_type = {"Content-Type": TEXT}
        return web.Response(body=self._status.prometheus().encode(), headers=content_type)

    async def _get_status(self, request: web.Request) -> web.Response:
        return web.json_response(self._status.to_dict())

    async def _get_clients(self, request: web.Request) -> web.Response:
        ids = sorted({client.node.id for client in self._status.clients})
        return web.json_response({"clients": [_summary(self._streams(one)) for one in ids]})

    async def _get_client(self, request: web.Request) -> web.Response:
        name = request.match_info["client"]
        streams, now = self._streams(name), self._status.clock()
        nacks = [past.to_dict(now) for past in self._status.nacks if past.client == name]
        found = {"id": name, "streams": [one.to_dict(now) for one in streams], "nacks": nacks}
        return web.json_response(found)

    async def _get_loads(self, request: web.Request) -> web.Response:
        return web.json_response({"clients": self._status.loads.to_dicts()})

    async def _get_config(self, request: web.Request) -> web.Response:
        name, kind = request.match_info["client"], request.match_info.get("type")
        if kind is not None and kind not in SHORT.values():
            known = sorted(SHORT.values())
            raise _not_found({"error": f"no type {kind!r}", "types": known})
        streams = [_served(stream, kind) for stream in self._streams(name)]
        return web.json_response({"client": name, "streams": streams})

    def _streams(self, name: str) -> list[Client]:
        streams = [client for client in self._status.clients if client.node.id == name]
        if not streams:
            known = sorted({client.node.id for client in self._status.clients})
            raise _not_found({"error": f"no client {name!r}", "clients": known})
        return streams


def _not_found(said: dict[str, Any]) -> web.HTTPNotFound:
    return web.HTTPNotFound(text=web.json_response(said).text, content_type="application/json")


def _summary(streams: list[Client]) -> dict[str, Any]:
    states = [state for one in streams for state in one.subscriptions.types.values()]
    return {
        "id": streams[0].node.id,
        "kind": str(streams[0].node.kind),
        "namespace": streams[0].node.namespace,
        "streams": len(streams),
        "rejecting": any(state.nack is not None for state in states),
        "in_sync": all(state.is_settled and state.nack is None for state in states),
    }


def _served(client: Client, kind: str | None) -> dict[str, Any]:
    types = client.subscriptions.types
    return {
        "peer": client.peer,
        "types": {
            short(url): _content(state)
            for url, state in types.items()
            if kind in (None, short(url))
        },
    }


def _content(state: TypeSubscription) -> dict[str, Any]:
    """What the client was sent; of what it refused, it runs on what it had before."""
    refused = {resource.name for resource in state.nack.refused} if state.nack else set()
    return {
        "version": state.sent_version,
        "acked": state.acked_version,
        "nack": state.nack.text if state.nack else "",
        "resources": [
            redacted(to_json(r.packed)) for r in state.sent.values() if r.packed is not None
        ],
        "names": [
            {"name": r.name, "version": r.version, "refused": r.name in refused}
            for r in state.sent.values()
        ],
    }
