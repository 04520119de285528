"""Proven members in one process: a control plane with a CA, and servers that speak TLS."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
from aiohttp import web

import meshlib
from meshlib.controlplane import ControlPlane

REVIEWS = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "reviews"},
    "spec": {"selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 9080}]},
}
Join = Callable[[str], meshlib.Mesh]


@asynccontextmanager
async def proven(*manifests: dict) -> AsyncIterator[Join]:
    """What it gives makes a member of this name, which gets its certificate by itself."""
    with TemporaryDirectory() as folder:
        ca, socket = Path(folder) / "ca", Path(folder) / "ca.sock"
        config = [REVIEWS, *manifests]
        async with ControlPlane(config, listen="127.0.0.1:0", ca=ca, ca_socket=socket) as plane:
            os.environ["MESHLIB_CA"] = f"unix:{socket}"
            yield lambda name: meshlib.Mesh(name, control_plane=plane.address)


@asynccontextmanager
async def serving(mesh: meshlib.Mesh) -> AsyncIterator[int]:
    """An aiohttp server that greets its caller; the mesh is told where it listens."""

    async def greet(request: web.Request) -> web.Response:
        return web.Response(text=f"hello, {meshlib.peer(request).spiffe_id}")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", greet)
    mesh.aiohttp.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = mesh.aiohttp.site(runner, host="127.0.0.1", port=0)
    await site.start()
    await mesh.aregister(site.port)
    yield site.port
    await runner.cleanup()


async def ask(session: aiohttp.ClientSession, method: str, url: str) -> str:
    """The answer, or why there is none."""
    try:
        async with session.request(method, url) as answer:
            return f"{answer.status} {await answer.text()}"
    except aiohttp.ClientError as error:
        return f"refused ({type(error).__name__})"
