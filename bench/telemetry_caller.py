"""One variant of the telemetry benchmark, in a process of its own: who watches is process-wide.

Reads what to do from stdin, a line each, and answers with a line.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from client import MESSAGE, METHOD, ACall, Call, burst, burst_sync
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.instrumentation.grpc import aio_client_interceptors, client_interceptor
from opentelemetry.instrumentation.grpc.grpcext import intercept_channel
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from meshlib import Mesh
from meshlib.telemetry import access_log

SAMPLED = {"off": 0.0, "1 %": 0.01, "100 %": 1.0}
OURS = ("mesh", "mesh, metrics", "mesh, 1 %", "mesh, 100 %", "mesh, access log")
COUNTED = OURS[1:4]
LOGGED = OURS[4]
THEIRS = ("instrumentor, off", "instrumentor, 1 %", "instrumentor, 100 %")
VARIANTS = ("bare", "bare again", *OURS, *THEIRS)


class Nowhere(SpanExporter):
    """Counts what it is given, and lets it go."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


class Watch:
    """Who watches the calls of one variant, and what came of it."""

    def __init__(self, variant: str, folder: Path) -> None:
        self.variant = variant
        self.nowhere = Nowhere()
        self.log = folder / "access.log"
        _, _, sampled = variant.rpartition(", ")
        self.provider: TracerProvider | None = None
        if sampled in SAMPLED:
            sampler = ParentBased(TraceIdRatioBased(SAMPLED[sampled]))
            self.provider = TracerProvider(sampler=sampler)
            self.provider.add_span_processor(
                BatchSpanProcessor(self.nowhere, max_queue_size=1 << 16)
            )
        self.mesh: Mesh | None = None
        if variant in OURS:
            if self.provider is not None:
                trace.set_tracer_provider(self.provider)
            os.environ["MESHLIB_METRICS"] = "on" if variant in COUNTED else "off"
            config = folder / ("logged" if variant == LOGGED else "mesh")
            self.mesh = Mesh("bench", config=str(config))

    def flush(self) -> None:
        """So that nobody pays for it in the block of another."""
        if self.provider is not None:
            self.provider.force_flush()
        access_log.flush()

    def delivered(self) -> dict[str, int]:
        self.flush()
        told = {"spans": self.nowhere.spans, "series": 0, "counted": 0, "lines": 0}
        if self.mesh is not None:
            calls = self.mesh.recorder.snapshot()["calls"]
            told["counted"] = sum(one["count"] for one in calls)
            told["series"] = self.mesh.metrics().count("\nistio_requests_total{")
            self.mesh.close()
        if self.variant == LOGGED:
            told["lines"] = self.log.read_text().count("\n")
        return told


def aio(watch: Watch, plan: dict[str, Any], rest: ExitStack) -> ACall:
    async def made() -> grpc.aio.Channel:
        if watch.mesh is not None:
            return watch.mesh.grpc.aio_channel("echo:9080")
        provider = watch.provider
        interceptors = provider and aio_client_interceptors(tracer_provider=provider)
        address = f"127.0.0.1:{plan['grpc_port']}"
        return grpc.aio.insecure_channel(address, interceptors=interceptors)

    channel = run(made())
    rest.callback(lambda: run(channel.close()))
    say = channel.unary_unary(METHOD)
    return lambda: say(MESSAGE)


def sync(watch: Watch, plan: dict[str, Any], rest: ExitStack) -> Call:
    channel = (
        watch.mesh.grpc.channel("echo:9080")
        if watch.mesh is not None
        else grpc.insecure_channel(f"127.0.0.1:{plan['grpc_port']}")
    )
    rest.callback(channel.close)
    if watch.mesh is None and watch.provider is not None:
        channel = intercept_channel(channel, client_interceptor(tracer_provider=watch.provider))
    say = channel.unary_unary(METHOD)
    return lambda: say(MESSAGE)


def http(watch: Watch, plan: dict[str, Any], rest: ExitStack) -> ACall:
    async def made() -> tuple[aiohttp.ClientSession, str]:
        if watch.mesh is not None:
            return watch.mesh.aiohttp.session(), "http://hello:9080/hello"
        configs = (
            [] if watch.provider is None else [create_trace_config(tracer_provider=watch.provider)]
        )
        address = f"http://127.0.0.1:{plan['http_port']}/hello"
        return aiohttp.ClientSession(trace_configs=configs), address

    session, url = run(made())
    rest.callback(lambda: run(session.close()))

    async def call() -> bytes:
        async with session.get(url) as response:
            return await response.read()

    return call


KINDS: dict[str, Callable[[Watch, dict[str, Any], ExitStack], Any]] = {
    "aio": aio,
    "sync": sync,
    "aiohttp": http,
}
LOOP = asyncio.new_event_loop()
run = LOOP.run_until_complete


@contextmanager
def blocks(
    kind: str, call: Any
) -> Iterator[tuple[Callable[[int], list[float]], Callable[[float], float]]]:
    async def times_async(calls: int) -> list[float]:
        times = []
        await call()
        for _ in range(calls):
            began = time.perf_counter()
            await call()
            times.append(time.perf_counter() - began)
        return times

    def times_sync(calls: int) -> list[float]:
        times = []
        call()
        for _ in range(calls):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return times

    if kind == "sync":
        yield times_sync, lambda seconds: burst_sync(call, seconds)
    else:
        yield (
            lambda calls: run(times_async(calls)),
            lambda seconds: run(burst(call, seconds)),
        )


def serve(watch: Watch, kind: str, call: Any) -> None:
    with blocks(kind, call) as (times, rate):
        for line in sys.stdin:
            match line.split():
                case ["block", calls]:
                    began = time.process_time()
                    taken = times(int(calls))
                    watch.flush()
                    spent = (time.process_time() - began) / (int(calls) + 1)
                    say({"times": taken, "cpu": spent})
                case ["burst", seconds]:
                    found = rate(float(seconds))
                    watch.flush()
                    say({"rate": found})
                case _:
                    break


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    plan = json.loads(sys.argv[1])
    os.sched_setaffinity(0, {plan["processor"]})
    watch = Watch(plan["variant"], Path(plan["folder"]))
    with ExitStack() as rest:
        call = KINDS[plan["kind"]](watch, plan, rest)
        say({"ready": True})
        serve(watch, plan["kind"], call)
    say(watch.delivered())


if __name__ == "__main__":
    main()
