"""What Prometheus would see of the mesh: the members' own metrics, read as it reads them."""

import asyncio
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from fleet import Fleet
from rich.table import Table

HINT = """\
Each member shows this under /metrics at its MESHLIB_ADMIN: have Prometheus
scrape that, and point Kiali or the boards in dashboards/ to it.
docs/how-to/telemetry.md tells more."""
LINE = re.compile(
    r"^(istio_requests_total|istio_request_duration_milliseconds_bucket)\{(.*)\} (\S+)$"
)
LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class Edge:
    calls: float = 0
    good: float = 0
    secure: float = 0
    buckets: defaultdict[float, float] = field(default_factory=lambda: defaultdict(float))

    def p95(self) -> float | None:
        """The end of the bucket in which 95 of 100 calls are over."""
        ends = sorted(self.buckets)
        found = next((end for end in ends if self.buckets[end] >= 0.95 * self.calls), math.inf)
        return None if found == math.inf else found


async def texts(fleet: Fleet) -> list[str]:
    """Of whoever is still there: one replica was killed."""
    async with aiohttp.ClientSession() as session:
        asked = [text_of(session, workload.admin) for workload in fleet.workloads]
        return [text for text in await asyncio.gather(*asked) if text]


async def text_of(session: aiohttp.ClientSession, port: int) -> str:
    try:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            return await answer.text()
    except aiohttp.ClientConnectionError:
        return ""


async def edges(fleet: Fleet) -> list[dict[str, Any]]:
    """As those who were called counted: ``reporter="destination"``."""
    found: dict[tuple[str, ...], Edge] = defaultdict(Edge)
    for text in await texts(fleet):
        for line in text.splitlines():
            if match := LINE.match(line):
                count(found, match[1], dict(LABEL.findall(match[2])), float(match[3]))
    return [
        {
            "from": source,
            "to": destination,
            "protocol": protocol,
            "calls": round(edge.calls),
            "success": round(100 * edge.good / edge.calls, 1),
            "p95_ms": edge.p95(),
            "mtls": round(100 * edge.secure / edge.calls, 1),
        }
        for (source, destination, protocol), edge in sorted(found.items())
    ]


def count(
    found: dict[tuple[str, ...], Edge], name: str, labels: dict[str, str], value: float
) -> None:
    if labels["reporter"] != "destination":
        return
    ends = labels["source_workload"], labels["destination_workload"]
    edge = found[(*ends, labels["request_protocol"])]
    if name != "istio_requests_total":
        edge.buckets[float(labels["le"])] += value
        return
    edge.calls += value
    if labels["response_code"] < "400" and labels["grpc_response_status"] in ("", "0"):
        edge.good += value
    if labels["connection_security_policy"] == "mutual_tls":
        edge.secure += value


def table(seen: list[dict[str, Any]]) -> Table:
    shown = Table(title="what Prometheus would see", title_justify="left", min_width=72)
    shown.add_column("who calls whom", style="dim", no_wrap=True)
    shown.add_column("by", style="dim")
    for head in ("calls", "success", "p95", "mTLS"):
        shown.add_column(head, justify="right")
    for edge in seen:
        ends, calls = f"{edge['from']} > {edge['to']}", str(edge["calls"])
        slow = "long" if edge["p95_ms"] is None else f"≤ {edge['p95_ms']:g} ms"
        shares = f"{edge['success']:g} %", slow, f"{edge['mtls']:g} %"
        shown.add_row(ends, edge["protocol"], calls, *shares)
    return shown
