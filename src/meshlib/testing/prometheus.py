"""A real Prometheus, which scrapes often and forgets all when it ends."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

OFTEN = {"scrape_interval": "250ms", "scrape_timeout": "250ms"}
PATIENCE = 30.0
POLL = 0.1

Samples = list[dict[str, Any]]


class Prometheus:
    """Asked by its HTTP API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, expression: str) -> Samples:
        """The instant vector; an expression that Prometheus does not take is an error here."""
        found: Samples = await self._get("query", query=expression)
        return found

    async def total(self, expression: str) -> float:
        """The sum of an instant vector."""
        return sum(float(one["value"][1]) for one in await self.ask(expression))

    async def values(self, label: str, match: str) -> list[str]:
        found = await self._get(f"label/{label}/values", **{"match[]": match})
        return [str(value) for value in found]

    async def is_ready(self) -> bool:
        async with self._session.get(f"{self._url}/-/ready") as answer:
            return answer.status == 200

    async def _get(self, path: str, **parameters: str) -> Any:
        async with self._session.get(f"{self._url}/api/v1/{path}", params=parameters) as answer:
            told = await answer.json()
        assert told["status"] == "success", f"{parameters}: {told}"
        found = told["data"]
        return found["result"] if isinstance(found, dict) else found

    async def until(self, question: Callable[[], Awaitable[bool]]) -> None:
        """It has no way to call back."""
        async with asyncio.timeout(PATIENCE):
            while not await question():  # noqa: ASYNC110
                await asyncio.sleep(POLL)


@asynccontextmanager
async def scraping(targets: Sequence[str], folder: Path) -> AsyncIterator[Prometheus]:
    """It scrapes ``host:port`` s and keeps what it learns in the folder, until the block ends.

    Raises :class:`RuntimeError` where it does not start.
    """
    running = _started(targets, folder)
    try:
        url = await asyncio.to_thread(_address, running)
        async with aiohttp.ClientSession() as session:
            asked = Prometheus(session, url)
            await asked.until(asked.is_ready)
            yield asked
    finally:
        running.send_signal(signal.SIGTERM)
        await asyncio.to_thread(running.communicate)


def _started(targets: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    config = folder / "prometheus.yml"
    jobs = [{"job_name": "mesh", "static_configs": [{"targets": list(targets)}]}]
    config.write_text(json.dumps({"global": OFTEN, "scrape_configs": jobs}))
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += ["--web.listen-address=127.0.0.1:0", "--log.format=json"]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def _address(running: subprocess.Popen[bytes]) -> str:
    """Where it listens, as its log says."""
    assert running.stderr is not None
    for line in running.stderr:
        told = json.loads(line)
        if told.get("msg") == "Listening on":
            return f"http://{told['address']}"
    raise RuntimeError("Prometheus did not start")
