"""The servers of the benchmark: one grpc.aio echo, one aiohttp echo, pinned to one processor."""

import asyncio
import os
import sys

import grpc
from aiohttp import web


async def echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return request


async def hello(request: web.Request) -> web.Response:
    return web.Response(body=b"0123456789abcdef")


async def main(processor: int) -> None:
    os.sched_setaffinity(0, {processor})
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Echo", {"Say": handler}),)
    )
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    app = web.Application()
    app.router.add_get("/hello", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    http_port = runner.addresses[0][1]
    print(f"{grpc_port} {http_port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
