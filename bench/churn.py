"""Edit after edit under a steady load: no call may fail, and all that is said must be lawful.

Calls are made when they are due, whether or not those before are over, and their time counts from
then: a stall is not hidden by the calls that it kept from being made.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from meshlib import Mesh
from meshlib.mesh import remote
from meshlib.testing.ads_law import AdsLaw
from meshlib.xds.client import XdsClient

HERE = Path(__file__).resolve().parent
METHOD, MESSAGE = "/bench.Echo/Say", b"0123456789abcdef"
THREADS = 8
PATIENCE = 120.0
Call = Callable[[], Awaitable[object]]


class Pacer:
    """So many calls a second, of each kind in turn. ``late``: how long each took from its due."""

    def __init__(self, calls: list[Call], rate: int) -> None:
        self._calls = calls
        self._rate = rate
        self._over = False
        self._open: set[asyncio.Task[None]] = set()
        self.late: list[float] = []
        self.failed: list[str] = []

    async def run(self) -> None:
        began, number = time.monotonic(), 0
        while not self._over:
            due = began + number / self._rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._one(self._calls[number % len(self._calls)], due))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            number += 1
        await asyncio.gather(*self._open)

    async def _one(self, call: Call, due: float) -> None:
        try:
            await call()
        except Exception as error:
            self.failed.append(repr(error))
        self.late.append(time.monotonic() - due)

    def end(self) -> None:
        self._over = True

    def take(self) -> list[float]:
        taken, self.late = sorted(self.late), []
        return taken


async def churn(plan: dict[str, Any], encoding: str) -> dict[str, Any]:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, str(HERE / "churn_plane.py"), json.dumps(plan))
    plane = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert plane.stdin is not None
    assert plane.stdout is not None
    law = AdsLaw()
    remote.XdsClient = partial(XdsClient, wire=law)  # type: ignore[assignment, attr-defined]
    try:
        address = (await plane.stdout.readline()).decode().strip()
        async with AsyncExitStack() as stack:
            pacer = Pacer(await members(stack, address, encoding), plan["rate"])
            running = asyncio.create_task(pacer.run())
            await asyncio.sleep(1.0)  # connections are made
            pacer.take()
            await asyncio.sleep(plan["quiet"])
            quiet = pacer.take()
            plane.stdin.write(b"go\n")
            began = time.monotonic()
            told = json.loads(await plane.stdout.readline())
            seconds, calls = time.monotonic() - began, pacer.take()
            pacer.end()
            await running
    finally:
        plane.kill()
        await plane.wait()
    for said in (*told["violations"], *law.violations, *pacer.failed)[:10]:
        print(said, file=sys.stderr)
    return {
        "edits": plan["edits"],
        "seconds": round(told["seconds"], 1),
        "calls": len(calls),
        "calls_per_second": round(len(calls) / seconds),
        "failed": len(pacer.failed),
        "p50_ms": at(calls, 0.5),
        "p99_ms": at(calls, 0.99),
        "quiet_p50_ms": at(quiet, 0.5),
        "quiet_p99_ms": at(quiet, 0.99),
        "responses": told["responses"],
        "refused": told["refused"],
        "unanswered": told["responses"] - told["answers"],
        "violations": len(told["violations"]),
        "violations_by_client": len(law.violations),
        "plane_cpu_ms_per_edit": round(1e3 * told["cpu"] / plan["edits"], 1),
    }


async def members(stack: AsyncExitStack, address: str, encoding: str) -> list[Call]:
    server = {
        "server_uri": address,
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["delta"] if encoding == "delta" else [],
    }
    bootstrap = {"xds_servers": [server], "node": {"id": "churn"}}
    mesh = await stack.enter_async_context(Mesh("bench", bootstrap=bootstrap))
    for target in ("echo:9080", "hello:9080"):
        await mesh.aready(target, timeout=PATIENCE)
    say: Any = (await stack.enter_async_context(mesh.grpc.aio_channel("echo:9080"))).unary_unary(
        METHOD
    )
    block: Any = stack.enter_context(mesh.grpc.channel("echo:9080")).unary_unary(METHOD)
    session = await stack.enter_async_context(mesh.aiohttp.session(raise_for_status=True))
    threads = stack.enter_context(ThreadPoolExecutor(THREADS))
    loop = asyncio.get_running_loop()

    async def aio() -> None:
        await say(MESSAGE, timeout=10)

    async def sync() -> None:
        await loop.run_in_executor(threads, lambda: block(MESSAGE, timeout=10))

    async def http() -> None:
        async with session.get("http://hello:9080/hello") as response:
            await response.read()

    return [aio, sync, http]


def at(ordered: list[float], share: float) -> float:
    return round(1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


def main(plan: dict[str, Any]) -> None:
    command = [sys.executable, str(HERE / "servers.py"), str(plan["processor"])]
    pipe = subprocess.PIPE
    servers = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert servers.stdout is not None
    try:
        grpc_port, http_port = map(int, servers.stdout.readline().split())
        plan["ports"] = {"echo": grpc_port, "hello": http_port}
        os.sched_setaffinity(0, {plan["client"]})
        print(json.dumps({name: asyncio.run(churn(plan, name)) for name in plan["encodings"]}))
    finally:
        servers.terminate()
        servers.wait()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
