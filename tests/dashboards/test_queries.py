"""Every query of every panel is put to a real Prometheus that scrapes a small real mesh."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshlib.testing.prometheus import scraping

pytestmark = [
    pytest.mark.interop,
    pytest.mark.usefixtures("prometheus"),
]
BOARDS = sorted((Path(__file__).parents[2] / "dashboards").glob("*.json"))
REPORTERS = ("source|waypoint", "destination")
CHOSEN = {
    "__rate_interval": "10s",
    "namespace": ".*",
    "service": "details.default.svc.cluster.local",
    "source_namespace": ".*",
    "source_workload": ".*",
    "workload": ".*",
    "instance": ".*",
}
SELDOM = {
    "refused_streams_total": "nobody comes too often here",
    "refused_registrations_total": "nobody is turned away here",
    "nacks_total": "nothing that is pushed here is refused",
    "reported_calls_total": "a member reports every so many seconds, longer than this takes",
    "meshlib_plaintext_calls_total": "all here speak TLS",
    "meshlib_health_checks_total": "no cluster here has active health checks",
}


def queries(path: Path) -> Iterator[tuple[str, str]]:
    """The title of a panel, and what it asks with all variables filled in."""
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        for asked in panel.get("targets", ()):
            for reporter in REPORTERS if "$reporter" in asked["expr"] else [""]:
                yield panel["title"], filled(asked["expr"], CHOSEN | {"reporter": reporter})


def filled(expression: str, chosen: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda found: chosen[found[1]], expression)


async def test_each_query_of_each_board_is_answered(small_mesh: Any, tmp_path: Path) -> None:
    async with small_mesh() as mesh, scraping(mesh.targets, tmp_path) as asked:
        dark = [(path.stem, *one) for path in BOARDS for one in queries(path)]

        async def none_is_dark() -> bool:
            """Have the mesh live until each panel has something to show, 0 / 0 not being it."""
            await mesh.live()
            dark[:] = [one for one in dark if not await lit(asked, one[-1])]
            return not unexcused(dark)

        try:
            await asked.until(none_is_dark)
        except TimeoutError:
            pytest.fail("nothing to show:\n" + "\n".join(map(": ".join, unexcused(dark))))


async def lit(asked: Any, query: str) -> bool:
    samples = await asked.ask(query)
    return any(sample["value"][1] != "NaN" for sample in samples)


def unexcused(dark: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [one for one in dark if not any(name in one[-1] for name in SELDOM)]


def test_what_is_excused_is_asked_somewhere() -> None:
    asked = [expression for path in BOARDS for _, expression in queries(path)]
    for name in SELDOM:
        assert any(name in expression for expression in asked)
