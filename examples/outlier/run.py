"""A server that fails three times in a row gets no calls for a while."""

import asyncio
import sys
from pathlib import Path

import meshlib

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback import Server, ask, rules, running, say


async def main() -> None:
    one, two = Server("one"), Server("two")
    async with running(one, two) as reviews:
        config = [reviews, *rules(__file__)]
        async with meshlib.Mesh("productpage", config=config) as mesh, mesh.aiohttp.session() as s:
            say("both are fine", await ask(s, 20))
            two.status = 500
            say("two fails", await ask(s, 20))
            for ejection in mesh.status()["calls"]["ejections"]:
                print(f"  ejected: {ejection}")
            two.status = 200
            say("two is fine again, but still left out", await ask(s, 20))
            await asyncio.sleep(1.5)
            say("a second later", await ask(s, 20))


asyncio.run(main())
