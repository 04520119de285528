import subprocess
import sys
from pathlib import Path

import meshlib.testing


def test_the_plugin_costs_next_to_nothing(root: Path) -> None:
    """It is loaded by every run of pytest, of people who may not even use the mesh in it."""
    program = (
        "import pytest, sys; before = set(sys.modules); import meshlib.testing.plugin;"
        "print(*sorted(name for name in set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root / "src",
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert set(done.stdout.split()) == {"meshlib", "meshlib.testing", "meshlib.testing.plugin"}


def test_everything_that_is_promised_is_there() -> None:
    for name in meshlib.testing.__all__:
        assert getattr(meshlib.testing, name) is not None
    assert not hasattr(meshlib.testing, "no_such_thing")
