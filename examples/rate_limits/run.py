"""A limit of one handler, written beside it; and one of a whole server, in the configuration."""

import asyncio
import sys
from pathlib import Path

from aiohttp import ClientSession, web

import meshlib

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback import rules


@meshlib.rate_limit("2/m", key="header:x-user")
async def order(request: web.Request) -> web.Response:
    return web.Response(text="ordered")


async def show(request: web.Request) -> web.Response:
    return web.Response(text="here you are")


async def serve(config: list) -> None:
    """A shop with this configuration, and some calls to it."""
    app = web.Application()
    app.router.add_post("/orders", order)
    app.router.add_get("/goods", show)
    async with meshlib.Mesh("shop", config=config) as mesh:
        mesh.aiohttp.setup(app)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with ClientSession(f"http://{host}:{port}") as session:
            for user in ("anna", "anna", "anna", "jason"):
                await call(session, "POST", "/orders", user)
            for _ in range(3):
                await call(session, "GET", "/goods", "anna")
        await runner.cleanup()


async def call(session: ClientSession, method: str, path: str, user: str) -> None:
    async with session.request(method, path, headers={"x-user": user}) as answer:
        names = ("retry-after", "x-ratelimit-remaining")
        told = [f"{name}: {answer.headers[name]}" for name in names if name in answer.headers]
        print(f"  {user} {method} {path}: {answer.status}", *told)


async def main() -> None:
    print("two orders a minute and user, by the handler's own mark")
    await serve([])
    print("five calls a minute of everybody, by the configuration, which wins")
    await serve([*rules(__file__)])


asyncio.run(main())
