"""Members know each other by their certificates; who has none is not let in."""

import asyncio
import sys
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback import URL, rules
from members import ask, proven, serving


async def main() -> None:
    async with (
        proven(*rules(__file__)) as join,
        join("reviews") as reviews,
        serving(reviews) as port,
    ):
        async with join("productpage") as page, page.aiohttp.session() as session:
            print("a member:", await ask(session, "GET", URL))
            print("  it shows the certificate of", page.status()["identity"]["spiffe_id"])
        async with aiohttp.ClientSession() as session:
            print("in plain text:", await ask(session, "GET", f"http://127.0.0.1:{port}/"))
            print("without a certificate:", await unproven(session, f"https://127.0.0.1:{port}/"))


async def unproven(session: aiohttp.ClientSession, url: str) -> str:
    """TLS like any browser's, which here does not even look at who answers."""
    try:
        async with session.get(url, ssl=False) as answer:
            return str(answer.status)
    except aiohttp.ClientError as error:
        return f"refused ({type(error).__name__})"


asyncio.run(main())
