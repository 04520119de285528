"""Calls stay in their zone, then in their region, then go overseas; and come back."""

import asyncio
import sys
from pathlib import Path

import meshlib

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback import Server, ask, rules, running, say


async def main() -> None:
    here = Server("eu/a", locality="eu/a")
    near = Server("eu/b", locality="eu/b")
    far = Server("us/a", locality="us/a")
    away = Server("ap/a", locality="ap/a")
    async with running(away, far, near, here) as reviews:
        config = [reviews, *rules(__file__)]
        mesh = meshlib.Mesh("productpage", config=config, locality="eu/a")
        async with mesh, mesh.aiohttp.session() as session:
            say("from eu/a", await ask(session, 20))
            here.status = 503
            say("eu/a fails", await ask(session, 20))
            near.status = 503
            say("eu/b fails too", await ask(session, 20))
            here.status = near.status = 200
            await asyncio.sleep(1.5)
            say("both are fine again", await ask(session, 20))


asyncio.run(main())
