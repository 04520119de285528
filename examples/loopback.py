"""Servers on free ports of this machine; together they are the host ``reviews``."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

URL = "http://reviews:9080/"


@dataclass
class Server:
    """Says its name; or whatever ``status`` it is told to, after so many seconds."""

    name: str
    status: int = 200
    delay: float = 0.0
    locality: str = ""
    calls: int = 0
    port: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.calls += 1
        await asyncio.sleep(self.delay)
        return web.Response(status=self.status, text=self.name)


@asynccontextmanager
async def running(*servers: Server) -> AsyncIterator[dict]:
    """Start them; together they are the host ``reviews``."""
    runners = []
    for server in servers:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
        server.port = runners[-1].addresses[0][1]
    yield reviews(*servers)
    for runner in runners:
        await runner.cleanup()


def reviews(*servers: Server) -> dict:
    endpoints = [
        {
            "address": "127.0.0.1",
            "ports": {"http": server.port},
            "labels": {"version": server.name},
            "locality": server.locality,
        }
        for server in servers
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "reviews"},
        "spec": {
            "hosts": ["reviews.default.svc.cluster.local"],
            "location": "MESH_INTERNAL",
            "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": endpoints,
        },
    }


def rules(program: str) -> Iterator[dict]:
    """The manifests beside a program."""
    yield from yaml.safe_load_all(Path(program).with_name("rules.yaml").read_text())


async def ask(session: aiohttp.ClientSession, calls: int, **headers: str) -> Counter[str]:
    """Make some calls, one after the other; who answered, or with which status."""
    heard: Counter[str] = Counter()
    for _ in range(calls):
        async with session.get(URL, headers=headers) as answer:
            heard[await answer.text() if answer.status == 200 else str(answer.status)] += 1
    return heard


def say(what: str, heard: Counter[str]) -> None:
    print(f"{what}: " + ", ".join(f"{name} {count}" for name, count in sorted(heard.items())))
