"""Programs of their own that live and die as members of the mesh, beside servers that stay."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from aiohttp import web

SOURCE = str(Path(__file__).parents[2] / "src")
PATIENCE = 40.0

PRELUDE = """
import asyncio, gc, json, os, signal, sys, threading
import meshlib
MANIFESTS = json.loads(os.environ["MANIFESTS"])
UNARY, HANG = "/test.T/Unary", "/test.T/Hang"
"""


async def _serve() -> tuple[int, int, Callable[[], object]]:
    async def unary(request: bytes, _call: object) -> bytes:
        return b"ok:" + request

    async def hang(_request: bytes, _call: object) -> bytes:
        return await asyncio.get_running_loop().create_future()

    async def ok(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.T", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    app = web.Application()
    app.router.add_get("/", ok)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()

    async def stop() -> None:
        await server.stop(None)
        await runner.cleanup()

    return port, runner.addresses[0][1], stop


@pytest.fixture(scope="module")
def manifests() -> Iterator[list[dict[str, object]]]:
    """A mesh of ``greeter:9080`` (gRPC) and ``details:9080`` (HTTP), really served."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    rpc, http, stop = run(_serve())
    yield [*_service("greeter", "grpc", rpc), *_service("details", "http", http)]
    run(stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def _service(name: str, protocol: str, port: int) -> list[dict[str, object]]:
    ports = [{"name": protocol, "port": 9080}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": ports},
        },
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {"name": name},
            "spec": {
                "address": "127.0.0.1",
                "ports": {protocol: port},
                "labels": {"app": name},
            },
        },
    ]


@pytest.fixture
def run_program(manifests) -> Callable[..., str]:
    """Run Python text as a program to its end; what it said. It must end well and warn of nothing.

    gRPC core's own notes on forks are no warnings of ours.
    """

    def run(text: str, **environ: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(text)],
            env=os.environ | {"PYTHONPATH": SOURCE, "MANIFESTS": json.dumps(manifests)} | environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        noise = [line for line in done.stderr.splitlines() if "fork_posix.cc" not in line]
        assert not noise, done.stderr
        assert done.returncode == 0
        return done.stdout

    return run
