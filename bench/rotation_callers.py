"""Those who call while certificates are exchanged: a steady load, and one that is revoked."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
from rotation_server import KINDS, MESSAGE, SAY, THREADS, WATCH, told

from meshlib import Mesh

UNSHARED = (("grpc.use_local_subchannel_pool", 1),)

Call = Callable[[], Awaitable[object]]


class Caller:
    """By one library: a call, one on a connection of its own, and a stream."""

    def __init__(self, mesh: Mesh, threads: ThreadPoolExecutor) -> None:
        self._mesh = mesh
        self._threads = threads
        self._session = mesh.aiohttp.session(raise_for_status=True)
        self._sync = mesh.grpc.channel("echo:9080")
        self._aio = mesh.grpc.aio_channel("echo:9081")

    def calls(self) -> dict[str, Call]:
        return {"sync": self.sync, "aio": self.aio, "aiohttp": self.aiohttp}

    def new_calls(self) -> dict[str, Call]:
        return {"sync": self.new_sync, "aio": self.new_aio, "aiohttp": self.new_aiohttp}

    def streams(self) -> dict[str, Callable[[Callable[[], None]], Awaitable[object]]]:
        return {"sync": self.watch, "aio": self.awatch, "aiohttp": self.watch_http}

    def _run(self, function: Callable[[], object]) -> Awaitable[object]:
        return asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def sync(self) -> object:
        say: Any = self._sync.unary_unary(SAY)
        return await self._run(lambda: say(MESSAGE, timeout=10))

    async def aio(self) -> object:
        return await self._aio.unary_unary(SAY)(MESSAGE, timeout=10)

    async def aiohttp(self) -> object:
        async with self._session.get(f"http://echo:9082{SAY}") as response:
            return await response.read()

    async def new_sync(self) -> object:
        def call() -> object:
            with self._mesh.grpc.channel("echo:9080", options=UNSHARED) as channel:
                say: Any = channel.unary_unary(SAY)
                return say(MESSAGE, timeout=10)

        return await self._run(call)

    async def new_aio(self) -> object:
        async with self._mesh.grpc.aio_channel("echo:9081", options=UNSHARED) as channel:
            return await channel.unary_unary(SAY)(MESSAGE, timeout=10)

    async def new_aiohttp(self) -> object:
        async with (
            self._mesh.aiohttp.session(raise_for_status=True) as session,
            session.get(f"http://echo:9082{SAY}") as response,
        ):
            return await response.read()

    async def watch(self, heard: Callable[[], None]) -> object:
        watch: Any = self._sync.unary_stream(WATCH)

        def listen() -> None:
            for _ in watch(MESSAGE):
                heard()

        return await asyncio.to_thread(listen)

    async def awatch(self, heard: Callable[[], None]) -> object:
        watch: Any = self._aio.unary_stream(WATCH)
        async for _ in watch(MESSAGE):
            heard()
        return None

    async def watch_http(self, heard: Callable[[], None]) -> object:
        no_limit = aiohttp.ClientTimeout(total=None)
        async with self._session.get(f"http://echo:9082{WATCH}", timeout=no_limit) as response:
            async for _ in response.content.iter_any():
                heard()
        return None

    async def close(self) -> None:
        await self._session.close()
        await self._aio.close()
        await asyncio.to_thread(self._sync.close)


class Score:
    def __init__(self) -> None:
        self.times: list[float] = []
        self.failed: Counter[str] = Counter()
        self.first_failure: float | None = None

    def row(self, began: float) -> dict[str, Any]:
        ordered = sorted(self.times)
        row: dict[str, Any] = {"calls": len(ordered), "failed": self.failed.total()}
        if ordered:
            row |= {"p50_ms": at(ordered, 0.5), "p99_ms": at(ordered, 0.99)}
            row |= {"max_ms": at(ordered, 1.0)}
        if self.first_failure is not None:
            row |= {"errors": dict(self.failed.most_common(5))}
            row |= {"first_failure_s": round(self.first_failure - began, 1)}
        return row


async def load(plan: dict[str, Any], mesh: Mesh) -> dict[str, Any]:
    """So many calls a second, of each kind in turn, when they are due, and a stream of each."""
    threads = ThreadPoolExecutor(THREADS)
    caller = Caller(mesh, threads)
    scores = {kind: Score() for kind in KINDS}
    calls, rate = [*caller.calls().items()], plan["rate"]
    beats: Counter[str] = Counter()
    for call in caller.calls().values():
        await call()
    streams = {
        kind: asyncio.create_task(watch(lambda kind=kind: beats.update([kind])))
        for kind, watch in caller.streams().items()
    }
    over = asyncio.create_task(told())
    began, number, open_calls = time.monotonic(), 0, set()

    async def one(kind: str, call: Call, due: float) -> None:
        score = scores[kind]
        try:
            await call()
        except Exception as error:
            score.failed[repr(error)] += 1
            score.first_failure = score.first_failure or time.monotonic()
        score.times.append(time.monotonic() - due)

    while not over.done():
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        kind, call = calls[number % len(calls)]
        task = asyncio.create_task(one(kind, call, due))
        open_calls.add(task)
        task.add_done_callback(open_calls.discard)
        number += 1
    seconds = time.monotonic() - began
    await asyncio.gather(*open_calls)
    broken = {kind: repr(task) for kind, task in streams.items() if task.done()}
    for kind, task in streams.items():
        if kind != "sync":  # that one ends with its channel
            task.cancel()
    await caller.close()
    await asyncio.gather(*streams.values(), return_exceptions=True)
    threads.shutdown()
    return {
        "seconds": round(seconds, 1),
        "kinds": {kind: score.row(began) for kind, score in scores.items()},
        "streams_broken": broken,
        "stream_messages": dict(beats),
    }


async def revoked(plan: dict[str, Any], mesh: Mesh) -> dict[str, Any]:
    """Calls on, over old and new connections, and tells when the last of each went well."""
    threads = ThreadPoolExecutor(THREADS)
    caller = Caller(mesh, threads)
    last_good: dict[str, float] = {}
    first_bad: dict[str, float] = {}
    errors: dict[str, str] = {}
    over = asyncio.create_task(told())

    async def repeat(name: str, call: Call) -> None:
        while not over.done():
            began = time.monotonic()
            try:
                await call()
            except Exception as error:
                first_bad.setdefault(name, time.monotonic())
                errors.setdefault(name, repr(error)[:300])
            else:
                last_good[name] = began
            await asyncio.sleep(0.02)

    async def listen(kind: str, watch: Callable[..., Awaitable[object]]) -> None:
        name = f"{kind} stream"
        try:
            await watch(lambda: last_good.__setitem__(name, time.monotonic()))
        except Exception as error:
            errors[name] = repr(error)[:300]
        first_bad[name] = time.monotonic()

    for call in caller.calls().values():
        await call()
    streams = [asyncio.create_task(listen(*each)) for each in caller.streams().items()]
    tasks = [
        asyncio.create_task(repeat(f"{kind} {which}", call))
        for which, calls in (("kept", caller.calls()), ("new", caller.new_calls()))
        for kind, call in calls.items()
    ]
    await asyncio.gather(*tasks)
    open_streams = [task for task in streams if not task.done()]
    for task in open_streams:
        task.cancel()
    await caller.close()
    await asyncio.gather(*streams, return_exceptions=True)
    threads.shutdown()
    still = len(open_streams)
    return {"last_good": last_good, "first_bad": first_bad, "errors": errors, "open": still}


def at(ordered: list[float], share: float) -> float:
    return round(1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
