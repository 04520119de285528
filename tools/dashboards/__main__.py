"""``python -m tools.dashboards [FOLDER]``: write the boards as Grafana imports them."""

import sys
from pathlib import Path

from .board import written
from .control_plane import control_plane
from .mesh import mesh
from .service import service
from .workload import workload

BOARDS = {
    "mesh": mesh,
    "service": service,
    "workload": workload,
    "control-plane": control_plane,
}
USUAL = Path(__file__).parents[2] / "dashboards"


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else USUAL
    folder.mkdir(exist_ok=True)
    for name, board in BOARDS.items():
        (folder / f"{name}.json").write_text(written(board()), encoding="utf-8")


main()
