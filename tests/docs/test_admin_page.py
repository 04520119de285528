"""The page of the admin port. What it lists and what there is must not part."""

import re
from pathlib import Path

from meshlib.mesh.pages import OTHERS, PAGES

PAGE = (Path(__file__).parents[2] / "docs/reference/admin.md").read_text(encoding="utf-8")


def test_each_page_has_its_row() -> None:
    table = PAGE.partition("## Pages")[2].partition("\n\n`?format=")[0]
    firsts = "\n".join(re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE))
    listed = {path.partition("?")[0] for path in re.findall(r"`(/[^`]*)`", firsts)}
    assert listed == {*OTHERS, *PAGES, "/help", "/readyz", "/stats/prometheus"}
