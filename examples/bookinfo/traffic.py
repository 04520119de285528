"""Load: a bounded number of calls, a few at a time, each answer kept."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp


@dataclass
class Call:
    began: float
    ended: float
    version: str | None
    replica: int | None
    error: str = ""


@dataclass
class Traffic:
    """Calls so far; ``version`` is the one of reviews that answered."""

    calls: list[Call] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(1 for call in self.calls if call.error)

    @property
    def errors(self) -> list[str]:
        return sorted({call.error for call in self.calls if call.error})

    def split(self, since: float = 0.0, until: float = float("inf")) -> dict[str, float]:
        """Per cent of the calls begun in that time, by version."""
        versions = Counter(c.version for c in self.calls if c.version and since <= c.began < until)
        total = sum(versions.values())
        return {v: round(100 * n / total, 1) for v, n in sorted(versions.items()) if v}

    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(c.version for c in self.calls if c.version).items()))

    def slowest(self) -> float:
        return max(call.ended - call.began for call in self.calls)


class Client:
    """A user of productpage: outside of the mesh, but for sessions of another making."""

    def __init__(
        self,
        url: str,
        concurrency: int = 8,
        open_session: Callable[[], aiohttp.ClientSession] = lambda: aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(10)
        ),
    ) -> None:
        self._url = url
        self._concurrency = concurrency
        self._open_session = open_session

    async def play(
        self,
        calls: int,
        headers: dict[str, str] | None = None,
        progress: Callable[[int], None] = lambda _done: None,
    ) -> Traffic:
        """Make exactly so many calls."""
        traffic = Traffic()
        left = iter(range(calls))
        await self._workers(traffic, lambda: next(left, None) is not None, headers, progress)
        return traffic

    async def play_until(self, traffic: Traffic, stop: asyncio.Event, limit: int) -> None:
        """Call until told to stop, at most ``limit`` times."""
        left = iter(range(limit))
        await self._workers(
            traffic,
            lambda: not stop.is_set() and next(left, None) is not None,
            None,
            lambda _n: None,
        )

    async def _workers(
        self,
        traffic: Traffic,
        more: Callable[[], bool],
        headers: dict[str, str] | None,
        progress: Callable[[int], None],
    ) -> None:
        async with self._open_session() as session:

            async def worker() -> None:
                while more():
                    traffic.calls.append(await self.call(session, headers))
                    progress(len(traffic.calls))

            await asyncio.gather(*(worker() for _ in range(self._concurrency)))

    async def call(self, session: aiohttp.ClientSession, headers: dict[str, str] | None) -> Call:
        began = time.monotonic()
        try:
            async with session.get(self._url, headers=headers) as response:
                if response.status != 200:
                    text = (await response.text())[:200]
                    return Call(began, time.monotonic(), None, None, f"{response.status} {text}")
                page = await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            return Call(began, time.monotonic(), None, None, repr(error))
        return Call(began, time.monotonic(), page["reviews"], page["replica"])

    async def page(self, headers: dict[str, str]) -> dict:
        async with (
            self._open_session() as session,
            session.get(self._url, headers=headers) as response,
        ):
            response.raise_for_status()
            return await response.json()
