"""A real Prometheus, which scrapes often and forgets all with the test."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

OFTEN = {"scrape_interval": "250ms", "scrape_timeout": "250ms"}
PATIENCE = 30.0

Samples = list[dict[str, Any]]


class Prometheus:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, expression: str) -> Samples:
        """The instant vector; an expression that Prometheus does not take is an error here."""
        return await self._get("query", query=expression)

    async def is_ready(self) -> bool:
        async with self._session.get(f"{self._url}/-/ready") as answer:
            return answer.status == 200

    async def values(self, label: str, match: str) -> list[str]:
        found = await self._get(f"label/{label}/values", **{"match[]": match})
        return [str(value) for value in found]

    async def _get(self, path: str, **parameters: str) -> Any:
        async with self._session.get(f"{self._url}/api/v1/{path}", params=parameters) as answer:
            told = await answer.json()
        assert told["status"] == "success", f"{parameters}: {told}"
        data = told["data"]
        return data["result"] if isinstance(data, dict) else data

    async def until(self, question: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await question():  # noqa: ASYNC110 - it has no way to call back
                await asyncio.sleep(0.1)


Scraping = Callable[[Sequence[str]], AbstractAsyncContextManager[Prometheus]]


@pytest.fixture
def prometheus(tmp_path: Path) -> Scraping:
    """``async with prometheus(["127.0.0.1:15020"]) as asked``: ended with the block."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("there is no Prometheus here")

    @asynccontextmanager
    async def scraping(targets: Sequence[str]) -> AsyncIterator[Prometheus]:
        running = _started(program, targets, tmp_path)
        try:
            url = await asyncio.to_thread(_address, running)
            async with aiohttp.ClientSession() as session:
                asked = Prometheus(session, url)
                await asked.until(asked.is_ready)
                yield asked
        finally:
            running.send_signal(signal.SIGTERM)
            await asyncio.to_thread(running.communicate)

    return scraping


def _started(program: str, targets: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    config = folder / "prometheus.yml"
    jobs = [{"job_name": "mesh", "static_configs": [{"targets": list(targets)}]}]
    config.write_text(json.dumps({"global": OFTEN, "scrape_configs": jobs}))
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += ["--web.listen-address=127.0.0.1:0", "--log.format=json"]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def _address(running: subprocess.Popen[bytes]) -> str:
    """Where it listens, as its log says."""
    assert running.stderr is not None
    for line in running.stderr:
        told = json.loads(line)
        if told.get("msg") == "Listening on":
            return f"http://{told['address']}"
    sys.exit("Prometheus did not start")
