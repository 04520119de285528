"""Details of a book, over HTTP."""

import sys

from aiohttp import web

from meshlib import Mesh

mesh = Mesh("details", version="v1")


async def details(request: web.Request) -> web.Response:
    hop = {"service": "details", "version": "v1", "trace": request.headers.get("traceparent")}
    return web.json_response({"author": "William Shakespeare", "pages": 200, "hops": [hop]})


app = web.Application()
app.router.add_get("/details/{book}", details)

if __name__ == "__main__":
    mesh.aiohttp.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
