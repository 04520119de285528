"""The page lists each metric that is there, with its type and labels, and none that is not."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

PAGE = Path(__file__).parents[2] / "docs/reference/metrics.md"
ROW = re.compile(r"\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*) ?\| [^|]+ \| [^|]+ \|")
ISTIO = "Istio's"


class Row(NamedTuple):
    kind: str
    labels: frozenset[str] | None
    """``None`` where no call brought a sample."""


def listed() -> dict[str, Row]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = [ROW.fullmatch(line) for line in lines]
    rows = {row[1]: Row(row[2], labels(row[3])) for row in found if row}
    assert len(rows) == sum(line.startswith("| `") and line.count("|") == 6 for line in lines)
    return rows


def labels(cell: str) -> frozenset[str]:
    return istio_labels() if cell.strip() == ISTIO else frozenset(re.findall(r"`(\w+)`", cell))


def istio_labels() -> frozenset[str]:
    """The first cells of the table of labels, which name several of a kind together."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("| Label |")
    cells = [line.split("|")[1] for line in rest.partition("\n#")[0].splitlines()[2:] if line]
    return frozenset(name for cell in cells for name in re.findall(r"`(\w+)`", cell))


def told(text: str) -> dict[str, Row]:
    found = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        seen = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert len(seen) <= 1, f"{name} has now these labels, now those: {seen}"
        found[name] = Row(family.type, next(iter(seen), None))
    return found


async def test_what_the_page_lists_is_what_a_mesh_tells(small_mesh: Any) -> None:
    found: dict[str, Row] = {}
    async with small_mesh() as mesh, aiohttp.ClientSession() as session:
        await mesh.live()
        await mesh.live()
        for target in mesh.targets:
            async with session.get(f"http://{target}/metrics") as answer:
                answer.raise_for_status()
                for name, row in told(await answer.text()).items():
                    if found.get(name, Row("", None)).labels is None:
                        found[name] = row
    rows = listed()
    assert {name: row.kind for name, row in rows.items()} == {
        name: row.kind for name, row in found.items()
    }
    assert {name: row.labels for name, row in rows.items() if found[name].labels is not None} == {
        name: row.labels for name, row in found.items() if row.labels is not None
    }
