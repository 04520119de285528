"""Reviews of a book, over gRPC (asyncio); versions 2 and 3 ask ratings for stars."""

import asyncio
import json
import os
import signal
import sys

import grpc
from hops import hop

from meshlib import Mesh

VERSION = os.environ.get("MESHLIB_VERSION", "v1")
COLOR = {"v2": "black", "v3": "red"}.get(VERSION)
mesh = Mesh("reviews", version=VERSION)


def dumps(message: dict) -> bytes:
    return json.dumps(message).encode()


class Reviews:
    def __init__(self, ratings: grpc.aio.Channel) -> None:
        self.ratings = ratings.unary_unary("/bookinfo.Ratings/Get", dumps, json.loads)

    async def get(self, request: dict, context: grpc.aio.ServicerContext) -> dict:
        trace = dict(context.invocation_metadata()).get("traceparent")
        hops = [hop(mesh, VERSION, trace, context)]
        stars = None
        if COLOR:
            ratings = await self.ratings(request)
            stars = {"color": COLOR, "stars": ratings["stars"]}
            hops += ratings["hops"]
        return {"reviews": VERSION, "replica": os.getpid(), "stars": stars, "hops": hops}


async def serve(port: str) -> None:
    async with mesh, mesh.grpc.aio_channel("ratings:9080") as ratings:
        server = grpc.aio.server(interceptors=mesh.grpc.aio_server_interceptors())
        get = grpc.unary_unary_rpc_method_handler(Reviews(ratings).get, json.loads, dumps)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("bookinfo.Reviews", {"Get": get}),)
        )
        mesh.grpc.add_port(server, f"127.0.0.1:{port}")
        await server.start()
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGTERM, lambda: asyncio.ensure_future(server.stop(5))
        )
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
