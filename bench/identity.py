"""What it costs to know who calls, and to ask ten policies whether he may.

Once by itself, in the place of a handler, with a real connection's facts; and once over the wire:
the same stock client calls a bare server with mutual TLS, and members of the mesh.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
from client import MESSAGE, METHOD, ACall, Plan, measure_async
from identity_server import REVIEWS

from meshlib.identity.names import derived_name

HERE = Path(__file__).resolve().parent


def channel(told: dict[str, Any], port: int) -> grpc.aio.Channel:
    parts = (told["roots"].encode(), told["key"].encode(), told["chain"].encode())
    options = (
        ("grpc.ssl_target_name_override", derived_name(REVIEWS)),
        ("grpc.default_authority", "reviews"),
        ("grpc.use_local_subchannel_pool", 1),
    )
    secured = grpc.ssl_channel_credentials(*parts)
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", secured, options)


async def measure(told: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    def caller(one: grpc.aio.Channel) -> ACall:
        say = one.unary_unary(METHOD)
        return lambda: say(MESSAGE)

    ports: dict[str, int] = told["ports"]
    channels = {
        "bare": channel(told, ports["bare mTLS"]),
        "bare again": channel(told, ports["bare mTLS"]),
        **{name: channel(told, port) for name, port in list(ports.items())[1:]},
    }
    *_, member = channels.values()
    try:
        cost = member.unary_unary("/bench.Echo/Cost")
        by_itself = json.loads(await cost(str(plan["cost_rounds"]).encode()))
        rest = Plan(
            "identity", 0, 0, "", 0, plan["rounds"], 40, plan["burst_rounds"], 0.2, xds=False
        )
        scores = await measure_async({n: caller(c) for n, c in channels.items()}, rest)
    finally:
        for one in channels.values():
            await one.close()
    return {
        "by itself": by_itself,
        "over the wire": {name: score.row() for name, score in scores.items()},
    }


def main() -> None:
    plan = json.loads(sys.argv[1])
    server = subprocess.Popen(
        [sys.executable, str(HERE / "identity_server.py"), str(plan["server"])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        told = json.loads(server.stdout.readline())
        os.sched_setaffinity(0, {plan["processor"]})
        print(json.dumps(asyncio.run(measure(told, plan))))
    finally:
        server.stdin.close()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
