"""The page of arguments, variables and operators. Code and pages must not part."""

import inspect
import re
from pathlib import Path

from meshlib import Mesh
from meshlib.mesh.environment import VARIABLES
from meshlib.model.log_format import SUPPORTED
from meshlib.xds.expressions import TOLD

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/reference/mesh.md").read_text(encoding="utf-8")
VARIABLE = re.compile(r"\bMESHLIB_[A-Z]+(?:_[A-Z]+)*\b")
OPERATOR = re.compile(r"`([A-Z][A-Z_]+)(\(\)|\[\(\)\])?`")
METADATA = ("MESHLIB_LISTEN_ADDRESS", "MESHLIB_INBOUND_ADDRESS")
"""Of nodes, not of the environment."""
TAKES = {"()": "required", "[()]": "optional", "": "never"}


def test_each_argument_of_a_mesh_has_its_row() -> None:
    table = PAGE.partition("## Arguments")[2].partition("## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(listed) == sorted(inspect.signature(Mesh).parameters)


def test_each_variable_is_told_and_none_that_nobody_reads() -> None:
    files = [path for path in (ROOT / "src").rglob("*.py") if "testing" not in path.parts]
    code = "\n".join(path.read_text("utf-8") for path in files)
    told = set(VARIABLE.findall(PAGE))
    assert told >= set(VARIABLE.findall(code))
    assert told == {*VARIABLES, *METADATA}


def test_each_operator_of_access_logs_is_told() -> None:
    page = (ROOT / "docs/reference/access-logs.md").read_text(encoding="utf-8")
    table = page.partition("## Operators")[2].partition("\n## ")[0]
    firsts = "\n".join(re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE))
    told = {name: TAKES[argument] for name, argument in OPERATOR.findall(firsts)}
    assert told == SUPPORTED


def test_each_attribute_of_expressions_is_told() -> None:
    page = (ROOT / "docs/reference/access-logs.md").read_text(encoding="utf-8")
    table = page.partition("## Attributes")[2]
    told: dict[str, list[str]] = {}
    for roots, fields in re.findall(r"^\| (`[^|]*) \| ([^|]*) \|$", table, re.MULTILINE):
        names = re.findall(r"`(\w+)`", fields.partition(";")[0])
        told |= dict.fromkeys(re.findall(r"`(\w+)`", roots), names)
    assert {root: fields.split() for root, fields in TOLD.items()} == {r: told[r] for r in TOLD}
