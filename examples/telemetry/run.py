"""What is told of calls, without a word in the code: metrics of both ends, lines, and a trace."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback import URL, rules
from members import ask, proven, serving

os.environ["MESHLIB_ADMIN"] = "127.0.0.1:0"
spans = InMemorySpanExporter()
"""Elsewhere: ``meshlib.telemetry.setup()``, which sends them to a collector."""


async def main() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    async with (
        proven(*rules(__file__)) as join,
        join("reviews") as reviews,
        serving(reviews),
        join("productpage") as page,
    ):
        async with page.aiohttp.session() as session:
            with trace.get_tracer("shop").start_as_current_span("a page"):
                for method in ("GET", "GET", "DELETE"):
                    await ask(session, method, URL)
        for member in (page, reviews):
            for told in counted(await metrics(member.admin_address)):
                print(told)
    print("one trace:", ", ".join(told_of_spans()))


async def metrics(address: str | None) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as it:
        return await it.text()


def counted(text: str) -> Iterator[str]:
    """The calls, by some of their labels."""
    for line in text.splitlines():
        if line.startswith("istio_requests_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            ends = f"{labels['source_workload']} > {labels['destination_workload']}"
            how = [labels[name] for name in ("response_code", "connection_security_policy")]
            told = [labels["reporter"], ends, *how, labels.get("method", "by any method")]
            yield f"{line.rsplit(' ', 1)[1]} x {' '.join(told)}"


def told_of_spans() -> list[str]:
    found = spans.get_finished_spans()
    traces = {span.context.trace_id for span in found if span.context}
    return [f"{len(traces)} id", f"{len(found)} spans", *sorted({span.name for span in found})]


asyncio.run(main())
