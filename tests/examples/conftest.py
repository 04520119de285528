"""Bookinfo's demo as a program of its own."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Demo:
    """What it said on stdout and on stderr, and where it kept what it wrote."""

    status: int
    said: str
    told: str
    folder: Path


@pytest.fixture(scope="module")
def demo(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Demo]:
    """``demo("--mtls")``: its account is JSON. Its services do not outlive it."""

    def run(*options: str, seconds: float) -> Demo:
        folder = tmp_path_factory.mktemp("demo")
        process = subprocess.Popen(
            [sys.executable, "examples/bookinfo/demo.py", "--json", *options],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root / "src"), "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            said, told = process.communicate(timeout=seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return Demo(process.returncode, said, told, folder)

    return run
