"""The page of what members make of xDS stays true."""

import re
from pathlib import Path

from meshlib.model.telemetry import NEVER_SET

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/reference/xds.md").read_text(encoding="utf-8")
SOURCES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))


def test_flags_that_no_call_has_are_those_of_the_code() -> None:
    (row,) = re.findall(r"response_flag_filter\.flags` \| (.*) \|", PAGE)
    assert set(re.findall("`([A-Z]+)`", row)) == NEVER_SET


def test_headers_that_change_nothing_are_known_to_nobody_here() -> None:
    rows = re.findall(r"^\| (`x-envoy-[^|]*) \|", PAGE, re.MULTILINE)
    named = [name for row in rows for name in re.findall("`([^`]*)`", row)]
    assert len(named) > 9
    assert [name for name in named if f'"{name}"' in SOURCES] == []


def test_headers_that_are_understood_are_known_to_somebody() -> None:
    said = PAGE.partition("What is understood:")[2]
    named = [name.removesuffix("*") for name in re.findall("`(x-envoy-[^`]*)`", said)]
    assert len(named) > 5
    assert [name for name in named if f'"{name}' not in SOURCES] == []
