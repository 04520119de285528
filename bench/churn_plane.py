"""A control plane under churn: a process of its own that makes so many edits, evenly, when told to.

It tells its address; then for each line on standard input, once the edits are made, what it took
and what the checker of the protocol found in the log of all streams.
"""

import asyncio
import json
import logging
import os
import sys
import time
from typing import Any

from meshlib.controlplane import ControlPlane
from meshlib.testing.ads_law import AdsLaw

NETWORKING = "networking.istio.io/v1"


def manifests(plan: dict[str, Any], edit: int) -> list[dict[str, Any]]:
    """Of every kind of change a share: weights, routes, subsets, endpoints, whole services."""
    made: list[dict[str, Any]] = []
    for name, port in plan["ports"].items():
        made += [
            service(name),
            of("DestinationRule", name, rule(edit, name)),
            of("VirtualService", name, routes(edit, name)),
            workload(name, "v1", port),
            workload(name, "v2", port),
        ]
        if edit % 4 == 1:  # one endpoint more
            made.append(workload(name, "v1", port, address="127.0.0.2"))
    return made + [service(f"extra-{index}") for index in range(edit % 3)]


def of(kind: str, name: str, spec: dict[str, Any], version: str = NETWORKING) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def service(name: str) -> dict[str, Any]:
    port = {"name": "grpc" if name == "echo" else "http", "port": 9080}
    return of("Service", name, {"selector": {"app": name}, "ports": [port]}, "v1")


def workload(name: str, version: str, port: int, address: str = "127.0.0.1") -> dict[str, Any]:
    ports = {"grpc" if name == "echo" else "http": port}
    labels = {"app": name, "version": version}
    spec = {"address": address, "ports": ports, "labels": labels}
    return of("WorkloadEntry", f"{name}-{version}-{address}", spec)


def rule(edit: int, name: str) -> dict[str, Any]:
    subsets = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]
    if edit % 5 == 0:
        subsets.append({"name": f"canary-{edit}", "labels": {"version": "v2"}})
    balancer = {"simple": "ROUND_ROBIN" if edit % 2 else "LEAST_REQUEST"}
    return {"host": name, "subsets": subsets, "trafficPolicy": {"loadBalancer": balancer}}


def routes(edit: int, name: str) -> dict[str, Any]:
    weight, second = edit * 7 % 101, f"canary-{edit}" if edit % 5 == 0 else "v2"
    split = [
        {"destination": {"host": name, "subset": "v1"}, "weight": weight},
        {"destination": {"host": name, "subset": second}, "weight": 100 - weight},
    ]
    return {"hosts": [name], "http": [{"name": f"edit-{edit}", "route": split}]}


async def main(plan: dict[str, Any]) -> None:
    os.sched_setaffinity(0, {plan["processor"]})
    logging.getLogger("meshlib").setLevel(logging.ERROR)
    loop, law = asyncio.get_running_loop(), AdsLaw()
    config = manifests(plan, 0)
    async with ControlPlane(config=config, listen="127.0.0.1:0", wire=law) as plane:
        print(plane.address, flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            began, cpu = time.monotonic(), time.process_time()
            for edit in range(1, plan["edits"] + 1):
                await plane.apply(manifests(plan, edit))
                await asyncio.sleep(max(0.0, began + edit * plan["pace"] - time.monotonic()))
            told = {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}
            while law.unanswered():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            refused = sum(not acked for _, _, acked in law.answers)
            said = {"responses": law.responses, "answers": len(law.answers), "refused": refused}
            print(json.dumps({**told, **said, "violations": law.violations}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
