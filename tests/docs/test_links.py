"""Pages point at files; files move. The two must not part."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        for part in token.children or ():
            target = str(part.attrs.get("href", "")).partition("#")[0]
            if target and "://" not in target:
                assert (page.parent / target).is_file(), target


def test_each_stop_of_the_journeys_exists() -> None:
    text = (ROOT / "docs/explanation/journey.md").read_text(encoding="utf-8")
    stops = re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", text)
    assert len(stops) >= 8
    assert [stop for stop in stops if not (ROOT / "src/meshlib" / stop).exists()] == []


def test_each_decision_is_listed_and_has_its_four_parts() -> None:
    listed = (ROOT / "docs/adr/index.md").read_text(encoding="utf-8")
    decisions = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    assert decisions
    for number, page in enumerate(decisions, 1):
        assert page.name.startswith(f"{number:04}-")
        assert page.stem in listed
        parts = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences", "Alternatives"]
