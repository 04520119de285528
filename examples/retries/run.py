"""One of three servers fails, one is slow; and what retries cost when all of them fail."""

import asyncio
import sys
from pathlib import Path

import meshlib

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback import URL, Server, ask, rules, running, say


async def main() -> None:
    fine, failing, slow = Server("fine"), Server("failing", status=503), Server("slow", delay=0.5)
    async with running(fine, failing, slow) as reviews:
        config = [reviews, *rules(__file__)]
        async with meshlib.Mesh("productpage", config=config) as mesh, mesh.aiohttp.session() as s:
            say("9 calls without retries", await ask(s, 9, **{"x-retries": "none"}))
            say("9 calls with two retries each", await ask(s, 9))

            slow.delay, fine.status, slow.status = 0.0, 503, 503
            before = fine.calls + failing.calls + slow.calls
            await asyncio.gather(*(outage(s) for _ in range(40)))
            attempts = fine.calls + failing.calls + slow.calls - before
            print(f"400 calls while all fail: {attempts} attempts, by the default budget")


async def outage(session) -> None:
    for _ in range(10):
        async with session.get(URL) as answer:
            assert answer.status == 503


asyncio.run(main())
