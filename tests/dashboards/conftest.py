"""A small real mesh: a control plane with a CA, and three members that serve and call."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from meshlib import Mesh
from meshlib.controlplane import ControlPlane

HOST = "127.0.0.1"
SERVICES = {"details": "http", "reviews": "grpc", "productpage": "http"}
SHOW = "/bookinfo.Reviews/Show"


def service(name: str, protocol: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"name": protocol, "port": 9080}]},
    }


MANIFESTS = [service(name, protocol) for name, protocol in SERVICES.items()]
SLOW = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "details"},
    "spec": {
        "hosts": ["details"],
        "http": [
            {
                "route": [{"destination": {"host": "details"}}],
                "fault": {"delay": {"percentage": {"value": 100}, "fixedDelay": "0.001s"}},
                "timeout": "30s",
                "retries": {"attempts": 1, "retryOn": "5xx"},
            }
        ],
    },
}


@dataclass
class SmallMesh:
    """``targets``: what a Prometheus is to scrape; the control plane is the first of them."""

    plane: ControlPlane
    targets: list[str]
    session: aiohttp.ClientSession
    show: Callable[[bytes], Any]

    def __post_init__(self) -> None:
        self._edits = cycle(([*MANIFESTS, SLOW], MANIFESTS))

    async def live(self) -> None:
        """An edit, and calls of every kind."""
        await self.plane.apply(next(self._edits))
        for path in ("fine", "fine", "missing", "broken"):
            async with self.session.get(f"http://details:9080/{path}") as answer:
                await answer.read()
        for wanted in (b"OK", b"NOT_FOUND", b"UNAVAILABLE"):
            try:
                await self.show(wanted)
            except grpc.aio.AioRpcError as error:
                assert error.code().name == wanted.decode()  # noqa: PT017


Starting = Callable[[], AbstractAsyncContextManager[SmallMesh]]


@pytest.fixture
def small_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Starting:
    @asynccontextmanager
    async def started() -> AsyncIterator[SmallMesh]:
        socket = tmp_path / "ca.sock"
        monkeypatch.setenv("MESHLIB_CA", f"unix:{socket}")
        plane = ControlPlane(
            MANIFESTS, listen=f"{HOST}:0", admin=f"{HOST}:0", ca=tmp_path / "ca", ca_socket=socket
        )
        async with plane, AsyncExitStack() as rest:
            targets = [plane.admin_address]

            async def join(name: str) -> Mesh:
                targets.append(f"{HOST}:{unused_port()}")
                mesh = Mesh(name, version="v1", control_plane=plane.address, admin=targets[-1])
                await rest.enter_async_context(mesh)
                await mesh.aready()
                return mesh

            await rest.enter_async_context(details(await join("details")))
            await rest.enter_async_context(reviews(await join("reviews")))
            page = await join("productpage")
            session = await rest.enter_async_context(page.aiohttp.session())
            channel = await rest.enter_async_context(page.grpc.aio_channel("reviews:9080"))
            yield SmallMesh(plane, targets, session, channel.unary_unary(SHOW))

    return started


@asynccontextmanager
async def details(mesh: Mesh) -> AsyncIterator[None]:
    async def answer(request: web.Request) -> web.Response:
        status = {"/fine": 200, "/broken": 503}.get(request.path, 404)
        return web.Response(status=status, text=request.path)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    mesh.aiohttp.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = mesh.aiohttp.site(runner, host=HOST, port=0)
    await site.start()
    await mesh.aregister(site.port, linger=0)
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def reviews(mesh: Mesh) -> AsyncIterator[None]:
    async def show(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if request != b"OK":
            await context.abort(grpc.StatusCode[request.decode()])
        return request

    server = grpc.aio.server(interceptors=mesh.grpc.aio_server_interceptors())
    handler = grpc.method_handlers_generic_handler(
        "bookinfo.Reviews", {"Show": grpc.unary_unary_rpc_method_handler(show)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = mesh.grpc.add_port(server, f"{HOST}:0")
    await server.start()
    await mesh.aregister(port, linger=0)
    try:
        yield
    finally:
        await server.stop(None)
