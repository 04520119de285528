"""How a mesh grows: a thousand clients of one control plane, and a cluster of 10,000 endpoints.

Of an edit that changes the endpoints of one service: how long until each client has been told, and
what it costs the control plane; then what it costs a member whose service is large, in time beside
the event loop and in stalls of the loop.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from scale_client import ENDPOINT, RawClient

from meshlib import Mesh

HERE = Path(__file__).resolve().parent
PATIENCE = 120.0
TICK = 0.001


class Plane:
    """The process of ``scale_plane.py``."""

    def __init__(self, processor: int, services: int, endpoints: int, *, routes: bool) -> None:
        plan = {"processor": processor, "services": services, "endpoints": endpoints}
        self._plan = json.dumps({**plan, "routes": routes})
        self.address = ""

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, str(HERE / "scale_plane.py"), self._plan)
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        assert self._process.stdout is not None
        self.address = (await self._process.stdout.readline()).decode().strip()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()

    async def edit(self, number: int) -> dict[str, float]:
        """Make an edit, or none for a number below 0; what it took, and what all took so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{number}\n".encode())
        told: dict[str, float] = json.loads(await self._process.stdout.readline())
        return told


async def pushes(plan: dict[str, Any], *, delta: bool) -> dict[str, float]:
    """Latencies from the edit, and from when it was compiled, to each client."""
    services, edits = plan["services"], plan["edits"]
    async with Plane(plan["plane"], services, endpoints=5, routes=False) as plane:
        news = asyncio.Event()
        began = time.monotonic()
        clients = await connected(plan["clients"], services, plane.address, news, delta=delta)
        await until(news, clients, lambda client: len(client.known) == 4)
        synced = time.monotonic() - began
        await asyncio.sleep(1.0)
        before = await plane.edit(-1)
        edited, compiled, compiling = [], [], []
        for number in range(1, edits + 1):
            for client in clients:
                client.heard.clear()
            told = await plane.edit(number)
            await until(news, clients, lambda client: bool(client.heard))
            edited += [client.heard[0] - told["began"] for client in clients]
            compiled += [client.heard[0] - told["applied"] for client in clients]
            compiling.append(told["applied"] - told["began"])
        after = await plane.edit(-1)
        for client in clients:
            client.close()
    return {
        "clients": len(clients),
        "sync_s": round(synced, 1),
        "edit_p50_ms": milliseconds(edited, 0.5),
        "edit_p99_ms": milliseconds(edited, 0.99),
        "push_p50_ms": milliseconds(compiled, 0.5),
        "push_p99_ms": milliseconds(compiled, 0.99),
        "apply_ms": milliseconds(compiling, 0.5),
        "cpu_ms_per_edit": round(1e3 * (after["cpu"] - before["cpu"]) / edits, 1),
        "rss_mb": round(after["rss"] / 1e6),
    }


async def connected(
    count: int, services: int, address: str, news: asyncio.Event, *, delta: bool
) -> list[RawClient]:
    """So many, a hundred at a time."""
    host, _, port = address.rpartition(":")
    clients: list[RawClient] = []
    loop = asyncio.get_running_loop()
    for number in range(count):
        client = RawClient(number, services, delta=delta, news=news)
        await loop.create_connection(lambda client=client: client, host, int(port))
        clients.append(client)
        if len(clients) % 100 == 0:
            await until(news, clients, lambda client: ENDPOINT in client.known)
    return clients


async def until(news: asyncio.Event, clients: list[RawClient], question: Any) -> None:
    left = clients
    async with asyncio.timeout(PATIENCE):
        while left := [client for client in left if not question(client)]:
            if broken := [client.error for client in left if client.error]:
                raise SystemExit(broken[0])
            news.clear()
            await news.wait()
            await asyncio.sleep(0.002)


async def large(plan: dict[str, Any]) -> dict[str, float]:
    """One service of many endpoints: until a member runs on an edit, and what its loop feels."""
    stalls: list[float] = []
    plane = Plane(plan["plane"], 1, plan["endpoints"], routes=True)
    async with plane, AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(Mesh("bench", control_plane=plane.address))
        await mesh.aready("svc-0:9080", timeout=PATIENCE)
        watch = asyncio.create_task(ticks(stalls))
        await asyncio.sleep(1.0)
        quiet, applied = max(stalls), []
        stalls.clear()
        for number in range(1, plan["edits"] + 1):
            told = await plane.edit(number)
            while edit_of(mesh) != f"edit-{number}":  # noqa: ASYNC110
                await asyncio.sleep(TICK)
            applied.append(time.monotonic() - told["applied"])
            await asyncio.sleep(0.2)
        watch.cancel()
    return {
        "endpoints": plan["endpoints"],
        "apply_p50_ms": milliseconds(applied, 0.5),
        "apply_max_ms": milliseconds(applied, 1.0),
        "stall_p99_ms": milliseconds(stalls, 0.99),
        "stall_max_ms": milliseconds(stalls, 1.0),
        "quiet_max_ms": round(1e3 * quiet, 1),
    }


def edit_of(mesh: Mesh) -> str:
    """Said by the name of the route; not asked by a call, which is not what is measured."""
    (table,) = [t for name, t in mesh._engine.snapshot.routes.items() if "svc-0" in name]
    return table.virtual_hosts[0].routes[0].name


async def ticks(stalls: list[float]) -> None:
    """How much later than asked for the loop comes back."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(TICK)
        stalls.append(time.monotonic() - began - TICK)


def milliseconds(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds)
    if share == 0.5:
        return round(1e3 * statistics.median(ordered), 1)
    return round(1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


def main(plan: dict[str, Any]) -> None:
    os.sched_setaffinity(0, {plan["processor"]})
    scores = {name: asyncio.run(pushes(plan, delta=name == "delta")) for name in plan["encodings"]}
    scores["large"] = asyncio.run(large(plan))
    print(json.dumps(scores))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
