"""A control plane to be measured: a process of its own that makes an edit when it is told to.

A line on standard input is the number of an edit; the answer says what it took.
"""

import asyncio
import json
import logging
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from meshlib.controlplane import ControlPlane

NETWORKING = "networking.istio.io/v1"


def manifests(plan: dict[str, Any], edit: int) -> list[dict[str, Any]]:
    """One of the services has another endpoint; with ``routes`` its route has another name too."""
    made: list[dict[str, Any]] = []
    for number in range(plan["services"]):
        name = f"svc-{number}"
        port = {"name": "grpc", "port": 9080}
        made.append(kind("v1", "Service", name, {"selector": {"app": name}, "ports": [port]}))
        made += [workload(name, index) for index in range(plan["endpoints"])]
    changed = f"svc-{edit % plan['services']}"
    made.append(workload(changed, 60_000 + edit % 5_000))
    if plan["routes"]:
        route = {"name": f"edit-{edit}", "route": [{"destination": {"host": changed}}]}
        spec = {"hosts": [changed], "http": [route]}
        made.append(kind(NETWORKING, "VirtualService", changed, spec))
    return made


def workload(app: str, index: int) -> dict[str, Any]:
    address = f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}"
    spec = {"address": address, "ports": {"grpc": 9000}, "labels": {"app": app}}
    return kind(NETWORKING, "WorkloadEntry", f"{app}-{index}", spec)


def kind(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


async def main(plan: dict[str, Any]) -> None:
    os.sched_setaffinity(0, {plan["processor"]})
    loop = asyncio.get_running_loop()
    logging.getLogger("meshlib").setLevel(logging.ERROR)  # of gRPC clients, which do not come
    async with ControlPlane(config=manifests(plan, 0), listen="127.0.0.1:0") as plane:
        print(plane.address, flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            edited = manifests(plan, int(line)) if int(line) >= 0 else None
            began = time.monotonic()
            if edited is not None:
                await plane.apply(edited)
            told = {"began": began, "applied": time.monotonic(), "cpu": time.process_time()}
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            print(json.dumps({**told, "rss": rss(), "peak_rss": peak}), flush=True)


def rss() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
