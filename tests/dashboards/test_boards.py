"""The boards that are here are those that the script writes, and Grafana can import them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BOARDS = sorted((ROOT / "dashboards").glob("*.json"))
GRAFANAS = {"__rate_interval", "__all"}


def board(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def variables(board: dict[str, Any]) -> list[dict[str, Any]]:
    return board["templating"]["list"]


def test_what_the_script_writes_is_what_is_here(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tools.dashboards", tmp_path], cwd=ROOT, check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in BOARDS}
    assert made.keys() == {"mesh.json", "service.json", "workload.json", "control-plane.json"}


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_each_panel_has_a_number_and_a_place_of_its_own(path: Path) -> None:
    panels = board(path)["panels"]
    numbers = [panel["id"] for panel in panels]
    assert len(set(numbers)) == len(numbers)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_what_a_board_asks_names_only_what_may_be_chosen_there(path: Path) -> None:
    known = {variable["name"] for variable in variables(board(path))}
    assert set(re.findall(r"\$\{?(\w+)", path.read_text(encoding="utf-8"))) <= known | GRAFANAS


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_variable_is_only_filled_by_those_before_it(path: Path) -> None:
    earlier: set[str] = set()
    for variable in variables(board(path)):
        asked = variable.get("query", "") if variable["type"] == "query" else ""
        assert set(re.findall(r"\$\{?(\w+)", asked)) <= earlier
        earlier.add(variable["name"])


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_each_panel_asks_the_data_source_that_was_chosen(path: Path) -> None:
    for panel in board(path)["panels"]:
        for asked in (panel, *panel.get("targets", ())):
            if panel["type"] != "row":
                assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_each_panel_says_what_it_shows(path: Path) -> None:
    panels = [panel for panel in board(path)["panels"] if panel["type"] != "row"]
    assert all(panel["description"].endswith(".") for panel in panels)
