"""Details of a book, over HTTP."""

import sys

from aiohttp import web
from hops import hop

from meshlib import Mesh

mesh = Mesh("details", version="v1")


async def details(request: web.Request) -> web.Response:
    hops = [hop(mesh, "v1", request.headers.get("traceparent"), request)]
    return web.json_response({"author": "William Shakespeare", "pages": 200, "hops": hops})


app = web.Application()
app.router.add_get("/details/{book}", details)

if __name__ == "__main__":
    mesh.aiohttp.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
