"""What is locked, and what must never come in."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_by_hash_and_names_no_address(lock: Path) -> None:
    requirements = re.split(r"(?<!\\)\n", lock.read_text(encoding="utf-8").strip())
    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9.-]+==\S+ ", requirement), requirement
        assert "--hash=sha256:" in requirement
        assert "://" not in requirement


def test_the_environment_that_runs_meshlib_is_free_of_xds_protos() -> None:
    names = re.findall(
        r"^([a-z0-9-]+)==", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE
    )
    assert "grpcio" in names
    assert not {"xds-protos", "grpcio-csds", "grpcio-admin"} & set(names)


def test_a_wheel_is_built_with_what_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    locked = (ROOT / "requirements/build.txt").read_text(encoding="utf-8")
    for requirement in project["build-system"]["requires"]:
        assert f"{requirement} " in locked
