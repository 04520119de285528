"""What every room's tests may ask for."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).parent.parent
LONGEST = (
    "interop/foreign/judges/test_edits.py",
    "test_coverage.py",
    "fuzz/test_fuzzers.py",
    "examples/test_bookinfo.py",
    "examples/test_small.py",
    "docs/test_code_blocks.py",
    "interop/test_prometheus.py",
    "examples/test_bookinfo_mtls.py",
)
"""Begun first where files are spread over workers, so that none is left to run alone at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told: dict[str, dict[str, None]] = {}
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, said in report.user_properties:
            if name == "told":
                told.setdefault(said[0], {})[said[1]] = None
    for title, lines in told.items():
        terminalreporter.section(title)
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture
def tell(record_property: Callable[[str, Any], None]) -> Callable[[str, str], None]:
    """``tell("seconds", "one: 42")``: a line under this title, once, at the end of the run."""
    return lambda title, line: record_property("told", (title, line))


def absent(reason: str) -> NoReturn:
    """Elsewhere a missing judge is a skipped test; in CI it is a failed one."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", name="absent")
def what_is_said_of_a_missing_judge() -> Callable[[str], NoReturn]:
    return absent


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """``program("promtool")``: where this system has it."""

    def found(name: str) -> str:
        return shutil.which(name) or absent(f"no {name} on PATH")

    return found


@pytest.fixture(scope="session")
def prometheus(program: Callable[[str], str]) -> str:
    """What :mod:`meshlib.testing.prometheus` starts is there."""
    return program("prometheus")


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of test data that nobody here wrote; read in place, never copied."""
    folder = ROOT / os.environ.get("MESHLIB_TESTDATA", "../shared/testdata")
    if not folder.is_dir():
        absent(f"no test data at {folder}: set MESHLIB_TESTDATA")
    return folder.resolve()


@pytest.fixture(scope="session")
def envoy() -> Path:
    """The real Envoy's binary."""
    binary = ROOT / "build/envoy/envoy/_bin/envoy"
    if not binary.is_file():
        absent("no Envoy in build/envoy: run `make judges`")
    return binary


@pytest.fixture(scope="session")
def go_judges() -> Path:
    """The folder of our small programs on grpc-go and go-control-plane."""
    folder = ROOT / "build/go"
    if not (folder / ".ready").is_file():
        absent("no judges in build/go: run `make judges`")
    return folder


@pytest.fixture(scope="session")
def js_judges() -> Path:
    """The folder of node modules with grpc-js and its xDS."""
    folder = ROOT / "build/js"
    if not (folder / ".ready").is_file():
        absent("no judge in build/js: run `make judges`")
    return folder / "node_modules"


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address of this machine where nobody listens, and nobody else may."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def free_port() -> Callable[[], int]:
    """``free_port()``: where nobody listens yet."""

    def found() -> int:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            return port

    return found


@pytest.fixture(scope="session")
def reviews_at() -> Callable[..., dict[str, Any]]:
    """A manifest: ``reviews:9080``, of the mesh, is served on this port of this machine."""

    def made(port: int, protocol: str = "grpc") -> dict[str, Any]:
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "reviews"},
            "spec": {
                "hosts": ["reviews.default.svc.cluster.local"],
                "location": "MESH_INTERNAL",
                "ports": [{"number": 9080, "name": protocol, "protocol": protocol.upper()}],
                "resolution": "STATIC",
                "endpoints": [{"address": "127.0.0.1", "ports": {protocol: port}}],
            },
        }

    return made
