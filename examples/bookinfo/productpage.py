"""The page: asks details over HTTP and reviews over gRPC, both by their names in the mesh."""

import asyncio
import json
import sys

from aiohttp import web
from hops import hop

from meshlib import Mesh

mesh = Mesh("productpage", version="v1", propagate=["end-user", "browser"])


def dumps(message: dict) -> bytes:
    return json.dumps(message).encode()


async def page(request: web.Request) -> web.Response:
    app = request.app
    details, reviews = await asyncio.gather(details_of(app), app["reviews"]({"book": 0}))
    own = hop(mesh, "v1", request.headers.get("traceparent"), request)
    hops = [own, *details["hops"], *reviews["hops"]]
    return web.json_response({**reviews, "hops": hops})


async def details_of(app: web.Application) -> dict:
    async with app["session"].get("http://details:9080/details/0") as response:
        response.raise_for_status()
        return await response.json()


async def clients(app: web.Application):
    async with (
        mesh,
        mesh.aiohttp.session() as app["session"],
        mesh.grpc.aio_channel("reviews:9080") as channel,
    ):
        app["reviews"] = channel.unary_unary("/bookinfo.Reviews/Get", dumps, json.loads)
        yield


app = web.Application()
app.router.add_get("/productpage", page)
app.cleanup_ctx.append(clients)

if __name__ == "__main__":
    mesh.aiohttp.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
