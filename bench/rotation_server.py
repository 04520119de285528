"""The server of those whose certificates are exchanged: by gRPC, both kinds, and by aiohttp."""

import asyncio
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
from aiohttp import web

import meshlib
from meshlib import Mesh

SAY, WATCH = "/bench.Echo/Say", "/bench.Echo/Watch"
MESSAGE = b"0123456789abcdef"
KINDS = ("sync", "aio", "aiohttp")
BEAT = 0.1
THREADS = 16


class Served:
    """Who came, by which certificates: each is at least one handshake."""

    def __init__(self) -> None:
        self.serials: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self.callers: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def note(self, kind: str, call: object) -> None:
        caller = meshlib.peer(call)
        self.serials[kind].add(caller.serial)
        self.callers[caller.spiffe_id] += 1
        self.calls[kind] += 1


class Echo(grpc.GenericRpcHandler):
    def __init__(self, served: Served, *, awaited: bool) -> None:
        def say(request: bytes, context: Any) -> bytes:
            served.note("sync", context)
            return request

        async def asay(request: bytes, context: Any) -> bytes:
            served.note("aio", context)
            return request

        def watch(_request: bytes, context: Any) -> Any:
            while context.is_active():
                yield MESSAGE
                time.sleep(BEAT)

        async def awatch(_request: bytes, _context: Any) -> Any:
            while True:
                yield MESSAGE
                await asyncio.sleep(BEAT)

        self._say = grpc.unary_unary_rpc_method_handler(asay if awaited else say)
        self._watch = grpc.unary_stream_rpc_method_handler(awatch if awaited else watch)

    def service(self, details: Any) -> Any:
        return self._watch if details.method == WATCH else self._say


async def serve(plan: dict[str, Any], mesh: Mesh) -> dict[str, Any]:
    served, ports = Served(), plan["ports"]
    pool = ThreadPoolExecutor(THREADS)
    sync = grpc.server(pool, interceptors=mesh.grpc.server_interceptors())
    sync.add_generic_rpc_handlers((Echo(served, awaited=False),))
    mesh.grpc.add_port(sync, f"127.0.0.1:{ports['sync']}")
    aio = grpc.aio.server(interceptors=mesh.grpc.aio_server_interceptors())
    aio.add_generic_rpc_handlers((Echo(served, awaited=True),))
    mesh.grpc.add_port(aio, f"127.0.0.1:{ports['aio']}")

    async def say(request: web.Request) -> web.Response:
        served.note("aiohttp", request)
        return web.Response(body=MESSAGE)

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionResetError):  # until it is cut
            while True:
                await response.write(MESSAGE)
                await asyncio.sleep(BEAT)
        return response

    app = web.Application()
    app.router.add_get(SAY, say)
    app.router.add_get(WATCH, watch)
    mesh.aiohttp.setup(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await mesh.aiohttp.site(runner, "127.0.0.1", ports["aiohttp"]).start()
    sync.start()
    await aio.start()
    await told()
    await runner.cleanup()
    await aio.stop(0)
    await asyncio.to_thread(sync.stop(0).wait)
    pool.shutdown()
    return {
        "served": dict(served.calls),
        "callers": dict(served.callers),
        "serials": {kind: len(found) for kind, found in served.serials.items()},
    }


async def told() -> None:
    """By the end of standard input, that it is over; first it is told that this is ready."""
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
