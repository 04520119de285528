"""The house rules that no linter knows, and the proof that those a linter knows are kept."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"
LINES_PER_FILE = 400
LINES_PER_FUNCTION = 50

FLOORS = "Floors: imports go down only, siblings never meet"
PURITY = "The core is pure: no I/O, no threads, no clock, no dice, no libraries"
BORDER = "Protobuf stays at the border"
KIT = "Nothing shipped for production imports the testing kit"

HEAVY = {"grpc", "aiohttp", "yaml", "cryptography", "opentelemetry", "google", "msgspec", "re2"}
# `typing` alone brings about 25; more than that means a room was entered on import.
MODULES_ON_IMPORT = 35


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LINES_PER_FILE
    functions = (
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    long = {
        f"{f.name}:{f.lineno}": f.end_lineno - f.lineno + 1
        for f in functions
        if f.end_lineno is not None and f.end_lineno - f.lineno >= LINES_PER_FUNCTION
    }
    assert not long


def test_importing_meshlib_costs_next_to_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, json; before = set(sys.modules); import meshlib;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    loaded = json.loads(python(tmp_path, "-c", program))
    assert "meshlib" in loaded
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    assert len(loaded) <= MODULES_ON_IMPORT


def test_the_floors_are_kept(copy: Path) -> None:
    assert broken_contracts(copy) == set()


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("dataplane/intruder.py", "import time", PURITY),
        ("dataplane/intruder.py", "from random import random", PURITY),
        ("dataplane/intruder.py", "import grpc", PURITY),
        ("dataplane/intruder.py", "from .. import xds", FLOORS),
        ("model/intruder.py", "from .. import dataplane", FLOORS),
        ("middleware/intruder.py", "from .. import controlplane", FLOORS),
        ("xds/intruder.py", "from .. import middleware", FLOORS),
        ("controlplane/compile/intruder.py", "import google.protobuf", BORDER),
        ("cli/intruder.py", "from .. import testing", KIT),
    ],
)
def test_an_import_against_the_floors_is_caught(
    copy: Path, module: str, line: str, contract: str
) -> None:
    intruder = copy / "src/meshlib" / module
    intruder.write_text(f"{line}\n", encoding="utf-8")
    assert contract in broken_contracts(copy)


def test_every_room_stands_on_a_floor_and_keeps_off_the_testing_kit() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {c["name"]: c for c in project["tool"]["importlinter"]["contracts"]}
    entries = {path.relative_to(SRC / "meshlib").parts[0] for path in SRC.rglob("*.py")}
    rooms = {entry.removesuffix(".py") for entry in entries if not entry.startswith("__")}
    placed = set(re.findall(r"\w+", " ".join(contracts[FLOORS]["layers"])))
    assert rooms - {"testing"} <= placed
    kept_off = {module.removeprefix("meshlib.") for module in contracts[KIT]["source_modules"]}
    assert rooms - {"testing"} == kept_off


def test_the_core_is_made_of_the_standard_library() -> None:
    core = [SRC / "meshlib" / file for file in ("errors.py", "clock.py")]
    core += [
        path for room in ("model", "dataplane") for path in (SRC / "meshlib" / room).rglob("*.py")
    ]
    foreign = {
        (str(path.relative_to(SRC / "meshlib")), name)
        for path in core
        for name in imported(path) - sys.stdlib_module_names
    }
    # Rings must equal Envoy's and gRPC's, which hash by xxHash64.
    assert foreign <= {("dataplane/routing/hashing.py", "xxhash")}


def imported(path: Path) -> set[str]:
    """The top-level names that a file imports absolutely."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                names |= {alias.name.partition(".")[0] for alias in node.names}
            case ast.ImportFrom(level=0, module=str(module)):
                names.add(module.partition(".")[0])
    return names


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The source and its contracts somewhere else, to be spoilt."""
    leave_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SRC / "meshlib", tmp_path / "src/meshlib", ignore=leave_out)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(checkout: Path) -> set[str]:
    program = "from importlinter.cli import lint_imports_command as main; main()"
    arguments = ("--config", "../pyproject.toml", "--no-cache")
    verdict = python(checkout / "src", "-c", program, *arguments, check=False)
    kept = {line.removesuffix(" KEPT") for line in verdict.splitlines() if line.endswith(" KEPT")}
    broken = {
        line.removesuffix(" BROKEN") for line in verdict.splitlines() if line.endswith(" BROKEN")
    }
    assert kept | broken == {FLOORS, PURITY, BORDER, KIT}, verdict
    return broken


def python(folder: Path, *arguments: str, check: bool = True) -> str:
    """What Python prints when it is started in ``folder``, with the sources of that checkout."""
    source = folder if (folder / "meshlib").is_dir() else SRC
    environment = {**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout
