"""One client process of the benchmark: every variant of one library, interleaved.

Ratios are made inside one round, variant against bare; medians over the rounds are printed.
"""

import asyncio
import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import grpc

from meshlib import Mesh

METHOD = "/bench.Echo/Say"
MESSAGE = b"0123456789abcdef"
PARALLEL = 32

ACall = Callable[[], Awaitable[object]]
Call = Callable[[], object]


@dataclass
class Plan:
    kind: str
    grpc_port: int
    http_port: int
    mesh_folder: str
    processor: int
    rounds: int
    calls: int
    burst_rounds: int
    burst_seconds: float
    xds: bool


@dataclass
class Score:
    latencies: list[float] = field(default_factory=list)
    p50_ratios: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    rate_ratios: list[float] = field(default_factory=list)

    def row(self) -> dict[str, float]:
        ordered = sorted(self.latencies)
        return {
            "p50_us": round(1e6 * statistics.median(ordered), 1),
            "p99_us": round(1e6 * ordered[int(0.99 * len(ordered))], 1),
            "p50_ratio": round(statistics.median(self.p50_ratios), 3),
            "p50_ratio_q1": round(statistics.quantiles(self.p50_ratios, n=4)[0], 3),
            "p50_ratio_q3": round(statistics.quantiles(self.p50_ratios, n=4)[2], 3),
            "rps": round(statistics.median(self.rates)),
            "rps_ratio": round(statistics.median(self.rate_ratios), 3),
        }


def settle(scores: dict[str, Score], medians: dict[str, float], rates: dict[str, float]) -> None:
    for name, median in medians.items():
        scores[name].p50_ratios.append(median / medians["bare"])
    for name, rate in rates.items():
        scores[name].rates.append(rate)
        scores[name].rate_ratios.append(rate / rates["bare"])


async def measure_async(variants: dict[str, ACall], plan: Plan) -> dict[str, Score]:
    scores = {name: Score() for name in variants}
    for call in variants.values():
        for _ in range(200):
            await call()
    for _ in range(plan.rounds):
        medians = {}
        for name in shuffled(variants):
            call, times = variants[name], []
            await call()
            for _ in range(plan.calls):
                began = time.perf_counter()
                await call()
                times.append(time.perf_counter() - began)
            scores[name].latencies += times
            medians[name] = statistics.median(times)
        settle(scores, medians, {})
    for _ in range(plan.burst_rounds):
        rates = {
            name: await burst(variants[name], plan.burst_seconds) for name in shuffled(variants)
        }
        settle(scores, {}, rates)
    return scores


async def burst(call: ACall, seconds: float) -> float:
    done, end = 0, time.perf_counter() + seconds

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(PARALLEL)))
    return done / (time.perf_counter() - began)


def measure_sync(variants: dict[str, Call], plan: Plan) -> dict[str, Score]:
    scores = {name: Score() for name in variants}
    for call in variants.values():
        for _ in range(200):
            call()
    for _ in range(plan.rounds):
        medians = {}
        for name in shuffled(variants):
            call, times = variants[name], []
            call()
            for _ in range(plan.calls):
                began = time.perf_counter()
                call()
                times.append(time.perf_counter() - began)
            scores[name].latencies += times
            medians[name] = statistics.median(times)
        settle(scores, medians, {})
    for _ in range(plan.burst_rounds):
        rates = {
            name: burst_sync(variants[name], plan.burst_seconds) for name in shuffled(variants)
        }
        settle(scores, {}, rates)
    return scores


def burst_sync(call: Call, seconds: float) -> float:
    counts, end = [0] * 8, time.perf_counter() + seconds

    def worker(index: int) -> None:
        while time.perf_counter() < end:
            call()
            counts[index] += 1

    threads = [threading.Thread(target=worker, args=(index,)) for index in range(len(counts))]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def shuffled(variants: dict[str, object]) -> list[str]:
    names = list(variants)
    random.shuffle(names)
    return names


async def aio(plan: Plan) -> dict[str, Score]:
    def caller(channel: grpc.aio.Channel) -> ACall:
        say = channel.unary_unary(METHOD)
        return lambda: say(MESSAGE)

    address = f"127.0.0.1:{plan.grpc_port}"
    async with Mesh("bench", config=plan.mesh_folder) as mesh:
        channels = {
            "bare": grpc.aio.insecure_channel(address),
            "bare again": grpc.aio.insecure_channel(
                address, [("grpc.use_local_subchannel_pool", 1)]
            ),
            "mesh channel": mesh.grpc.aio_channel("echo:9080"),
            "mesh interceptor": grpc.aio.insecure_channel(
                "echo:9080", interceptors=mesh.grpc.aio_client_interceptors("echo:9080")
            ),
        }
        if plan.xds:
            channels["grpcio xds:///"] = grpc.aio.insecure_channel("xds:///echo:9080")
        try:
            return await measure_async({n: caller(c) for n, c in channels.items()}, plan)
        finally:
            for channel in channels.values():
                await channel.close()


def sync(plan: Plan) -> dict[str, Score]:
    def caller(channel: grpc.Channel) -> Call:
        say = channel.unary_unary(METHOD)
        return lambda: say(MESSAGE)

    address = f"127.0.0.1:{plan.grpc_port}"
    with Mesh("bench", config=plan.mesh_folder) as mesh:
        channels = {
            "bare": grpc.insecure_channel(address),
            "bare again": grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]),
            "mesh channel": mesh.grpc.channel("echo:9080"),
            "mesh interceptor": grpc.intercept_channel(
                grpc.insecure_channel("echo:9080"), *mesh.grpc.client_interceptors("echo:9080")
            ),
        }
        if plan.xds:
            channels["grpcio xds:///"] = grpc.insecure_channel("xds:///echo:9080")
        try:
            return measure_sync({n: caller(c) for n, c in channels.items()}, plan)
        finally:
            for channel in channels.values():
                channel.close()


async def http(plan: Plan) -> dict[str, Score]:
    def caller(session: aiohttp.ClientSession, url: str) -> ACall:
        async def call() -> bytes:
            async with session.get(url) as response:
                return await response.read()

        return call

    address = f"http://127.0.0.1:{plan.http_port}/hello"
    async with (
        Mesh("bench", config=plan.mesh_folder) as mesh,
        aiohttp.ClientSession() as bare,
        aiohttp.ClientSession() as again,
        mesh.aiohttp.session() as meshed,
    ):
        variants = {
            "bare": caller(bare, address),
            "bare again": caller(again, address),
            "mesh session": caller(meshed, "http://hello:9080/hello"),
        }
        return await measure_async(variants, plan)


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    os.sched_setaffinity(0, {plan.processor})
    if plan.kind == "sync":
        scores = sync(plan)
    else:
        scores = asyncio.run(aio(plan) if plan.kind == "aio" else http(plan))
    print(json.dumps({name: score.row() for name, score in scores.items()}))


if __name__ == "__main__":
    main()
