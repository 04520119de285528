"""A tenth of the calls, and all of the testers, go to the new version."""

import asyncio
import sys
from pathlib import Path

import meshlib

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback import Server, ask, rules, running, say


async def main() -> None:
    async with running(Server("v1"), Server("v2")) as reviews:
        config = [reviews, *rules(__file__)]
        async with meshlib.Mesh("productpage", config=config) as mesh, mesh.aiohttp.session() as s:
            say("500 calls", await ask(s, 500))
            say("20 calls of testers", await ask(s, 20, **{"x-tester": "yes"}))
            decision = mesh.route("GET", "http://reviews:9080/", headers={"x-tester": "yes"})
            for rule in decision.trace:
                print(f"  {rule.rule}: {rule.outcome}")


asyncio.run(main())
