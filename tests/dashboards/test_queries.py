"""Every query of every panel is put to a real Prometheus that scrapes a real control plane."""

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

import meshlib
from meshlib.controlplane import ControlPlane

pytestmark = pytest.mark.interop
BOARDS = sorted((Path(__file__).parents[2] / "dashboards").glob("*.json"))
CHOSEN = {
    "__rate_interval": "10s",
    "reporter": "source|waypoint",
    "namespace": ".*",
    "service": "reviews.default.svc.cluster.local",
    "source_namespace": ".*",
    "source_workload": ".*",
    "workload": ".*",
    "instance": ".*",
}
REVIEWS = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "reviews"},
    "spec": {"selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 9080}]},
}
SLOW = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "reviews"},
    "spec": {
        "hosts": ["reviews"],
        "http": [{"route": [{"destination": {"host": "reviews"}}], "timeout": "30s"}],
    },
}
SELDOM = {
    "refused_streams_total": "nobody comes too often here",
    "refused_registrations_total": "nobody is turned away here",
    "nacks_total": "nothing that is pushed here is refused",
    "reported_calls_total": "a member reports every so many seconds, longer than this takes",
    "process_": "brought by the client library of Prometheus, where a program has it",
    "grpc_xds_client_": "of members",
}


def queries(path: Path) -> Iterator[tuple[str, str]]:
    """The title of a panel, and what it asks with all variables filled in."""
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        for asked in panel.get("targets", ()):
            yield panel["title"], filled(asked["expr"])


def filled(expression: str) -> str:
    return re.sub(r"\$(\w+)", lambda found: CHOSEN[found[1]], expression)


def excused(expression: str, reasons: dict[str, str]) -> bool:
    return any(name in expression for name in reasons)


async def test_prometheus_takes_every_query(prometheus: Any) -> None:
    async with prometheus(()) as asked:
        for path in BOARDS:
            for _, expression in queries(path):
                await asked.ask(expression)


async def all_lit(asked: Any, path: Path, live: Callable[[], Awaitable[None]]) -> None:
    """Have the mesh ``live`` until each panel has something to show, 0 / 0 not being it."""
    dark = [(title, query) for title, query in queries(path) if not excused(query, SELDOM)]

    async def none_is_dark() -> bool:
        await live()
        dark[:] = [(title, query) for title, query in dark if not await lit(asked, query)]
        return not dark

    try:
        await asked.until(none_is_dark)
    except TimeoutError:
        pytest.fail("nothing to show:\n" + "\n".join(f"{title}: {query}" for title, query in dark))


async def lit(asked: Any, query: str) -> bool:
    samples = await asked.ask(query)
    return any(sample["value"][1] != "NaN" for sample in samples)


async def test_the_board_of_the_control_plane_shows_a_real_one(prometheus: Any) -> None:
    (path,) = (path for path in BOARDS if path.stem == "control-plane")
    async with (
        ControlPlane([REVIEWS], listen="127.0.0.1:0", admin="127.0.0.1:0") as plane,
        meshlib.Mesh("reviews", control_plane=plane.address) as mesh,
        mesh.aiohttp.session() as session,
        prometheus([plane.admin_address]) as asked,
    ):
        await mesh.aregister(unused_port())
        with pytest.raises(aiohttp.ClientError):
            await session.get("http://reviews:9080/")  # nobody is there, but now it is asked for
        edits = cycle(([REVIEWS, SLOW], [REVIEWS]))
        await all_lit(asked, path, lambda: plane.apply(next(edits)))


def test_what_is_excused_is_asked_somewhere() -> None:
    asked = [expression for path in BOARDS for _, expression in queries(path)]
    for name in SELDOM:
        assert any(name in expression for expression in asked)
