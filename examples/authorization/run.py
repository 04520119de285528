"""Who may do what, by the caller's certificate; and asked beforehand, without a call."""

import asyncio
import sys
from pathlib import Path

from meshlib.testing import authorize

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback import URL, rules
from members import ask, proven, serving

CALLS = (
    ("productpage", "GET", "reviews/1"),
    ("productpage", "POST", "reviews/1"),
    ("productpage", "GET", "admin"),
    ("editor", "POST", "reviews/1"),
    ("editor", "DELETE", "reviews/1"),
    ("stranger", "GET", "reviews/1"),
)


async def main() -> None:
    policies = [*rules(__file__)]
    async with proven(*policies) as join, join("reviews") as reviews, serving(reviews):
        for who, method, path in CALLS:
            async with join(who) as mesh, mesh.aiohttp.session() as session:
                print(f"{who} {method} {path}:", await ask(session, method, URL + path))
    peer = "cluster.local/ns/default/sa/editor"
    verdict = authorize(policies, service="reviews", method="DELETE", path="/", peer=peer)
    print(f"an editor's DELETE is denied by {verdict.rule}")


asyncio.run(main())
