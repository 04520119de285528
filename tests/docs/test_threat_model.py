"""A threat that is said to be met is met by a test that there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs/explanation/threat-model.md"
TESTS = ROOT / "tests"


def quoted() -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", PAGE.read_text(encoding="utf-8")))


def test_each_test_that_is_named_exists() -> None:
    defined = set()
    for path in TESTS.rglob("test_*.py"):
        defined |= set(re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8")))
    named = {word for word in quoted() if re.fullmatch(r"test_\w+", word)}
    assert len(named) > 50
    assert named - defined == set()


def test_each_file_that_is_named_exists() -> None:
    named = {word for word in quoted() if re.fullmatch(r"(?:\w+/)*\w+\.py", word)}
    assert len(named) > 10
    assert {word for word in named if not (TESTS / word).is_file()} == set()


def test_each_table_of_threats_has_nothing_left_open_but_what_says_so() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("\n## Threats\n")[2]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    bare = [row for row in rows if row.endswith("| |") and "not judged here yet" not in row]
    assert bare == []
