"""Calls that say that they are a test are slow, or fail; others are not touched."""

import asyncio
import sys
import time
from pathlib import Path

import meshlib

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback import Server, ask, rules, running, say


async def main() -> None:
    server = Server("fine")
    async with running(server) as reviews:
        config = [reviews, *rules(__file__)]
        async with meshlib.Mesh("productpage", config=config) as mesh, mesh.aiohttp.session() as s:
            for test in ("none", "slow", "broken"):
                began, before = time.monotonic(), server.calls
                heard = await ask(s, 20, **{"x-test": test})
                say(f"20 calls, x-test: {test}", heard)
                took = (time.monotonic() - began) / 20
                print(f"  {took * 1000:.0f} ms each, {server.calls - before} reached the server")


asyncio.run(main())
