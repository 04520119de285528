import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

LEFT_OUT = (".git", ".venv", "build", "__pycache__", ".hypothesis", "descriptors.bin", ".*_cache")
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md")

# The rest of xds-protos is other packages' property: at run time it would overwrite them.
XDS_PROTOS_OWN = ("cel", "envoy", "opencensus", "udpa", "validate", "xds")

Pip = Callable[..., None]


@pytest.fixture(scope="session")
def pip(absent: Callable[[str], NoReturn]) -> Pip:
    def pip(*arguments: str | Path) -> None:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        command += map(str, arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "ConnectionError" in done.stderr or "NewConnectionError" in done.stderr:
            absent("no package index in reach")
        assert done.returncode == 0, done.stderr

    return pip


@pytest.fixture(scope="session")
def checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh checkout: nothing packed yet."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in BUILT_FROM:
        shutil.copy(root / name, copy)
    for name in ("src", "tools"):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return copy


@pytest.fixture(scope="session")
def wheel(pip: Pip, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", folder, checkout)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(pip: Pip, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that meshlib is imported from, as a user has it."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--target", folder, wheel)
    return folder


@pytest.fixture(scope="session")
def editable(
    pip: Pip, checkout: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The Python of an environment with an editable install; what meshlib needs is lent to it."""
    packed = checkout / "src/meshlib/xds/protos/descriptors.bin"
    packed.unlink(missing_ok=True)  # the wheel was built in place
    folder = tmp_path_factory.mktemp("editable")
    venv.create(folder, with_pip=False)
    python = folder / "bin/python"
    pip("--python", python, "install", "--no-deps", "--editable", checkout)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.fixture(scope="session")
def xds_protos(pip: Pip, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of xds-protos is its own, installed so that it harms nobody."""
    requires = tomllib.loads((root / "pyproject.toml").read_text())["build-system"]["requires"]
    (pinned,) = (name for name in requires if name.startswith("xds-protos"))
    whole = tmp_path_factory.mktemp("whole")
    pip("install", "--no-deps", "--target", whole, pinned)
    folder = tmp_path_factory.mktemp("xds_protos")
    for name in XDS_PROTOS_OWN:
        (folder / name).symlink_to(whole / name)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Runs code in a process of its own, away from the checkout, and gives what it prints."""

    def run(code: str, *paths: Path, python: str | Path = sys.executable) -> str:
        env: Mapping[str, str] = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [str(python), "-W", "error", "-c", code]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
