"""Servers, a served folder and a load of calls, all on loopback, ended with the test."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import meshlib
from meshlib.testing.grpc_servers import aio_serving

T = TypeVar("T")
VERSIONS = ("v1", "v2")
PROTOCOLS = {"reviews": "grpc", "details": "http"}
PATIENCE = 20.0
# Of this checkout, installed or not.
SOURCE = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
METHOD = "/bookinfo.Reviews/Get"

Ports = dict[tuple[str, str], int]
Call = Callable[[], Awaitable[str]]


async def until(question: Callable[[], Awaitable[T]]) -> T:
    """Ask another program until it says yes; it has no way to call back."""
    async with asyncio.timeout(PATIENCE):
        while not (answer := await question()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return answer


class Folder:
    """What is served: a gRPC service ``reviews`` and an HTTP service ``details``, both on 9080."""

    def __init__(self, path: Path, ports: Ports) -> None:
        self.path = path
        path.mkdir()
        self.write("services.yaml", "---\n".join(map(_service, PROTOCOLS)))
        self.write("workloads.yaml", "---\n".join(_workload(*k, p) for k, p in ports.items()))
        self.split(50, 50)

    def split(self, v1: int, v2: int) -> None:
        self.write("routes.yaml", "---\n".join(_routes(name, v1, v2) for name in PROTOCOLS))

    def write(self, name: str, text: str) -> None:
        """As an editor would: by a rename."""
        staged = self.path / f".{name}.new"
        staged.write_text(text)
        staged.replace(self.path / name)


def _service(name: str) -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n"
        f"spec:\n  selector: {{app: {name}}}\n"
        f"  ports: [{{name: {PROTOCOLS[name]}, port: 9080}}]\n"
        "---\n"
        f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\n"
        f"spec:\n  host: {name}\n  subsets:\n"
        + "".join(f"    - {{name: {v}, labels: {{version: {v}}}}}\n" for v in VERSIONS)
    )


def _workload(name: str, version: str, port: int) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
        f"metadata: {{name: {name}-{version}}}\n"
        f"spec:\n  address: 127.0.0.1\n  ports: {{{PROTOCOLS[name]}: {port}}}\n"
        f"  labels: {{app: {name}, version: {version}}}\n"
    )


def _routes(name: str, v1: int, v2: int) -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n"
        f"spec:\n  hosts: [{name}]\n  http:\n    - name: canary\n      route:\n"
        f"        - {{destination: {{host: {name}, subset: v1}}, weight: {v1}}}\n"
        f"        - {{destination: {{host: {name}, subset: v2}}, weight: {v2}}}\n"
    )


class Plane:
    """``meshlib serve``, a process of its own that can be killed and started again."""

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder = folder
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.address = self.admin = "127.0.0.1:0"

    async def start(self) -> None:
        """Where it listens is kept: a restarted control plane is found again."""
        self._process = process = self._spawn()
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = (await asyncio.to_thread(process.stdout.readline)).decode()
        assert line.startswith("ready"), self._log.read_text()
        self.address, self.admin = re.findall(r"=(\S+)", line)

    def _spawn(self) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-m", "meshlib", "serve", str(self._folder)]
        arguments += ["--listen", self.address, "--admin", self.admin]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                arguments, env=os.environ | SOURCE, stdout=subprocess.PIPE, stderr=log
            )

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.communicate(timeout=PATIENCE)
            self._process = None

    async def status(self) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.admin}/api/v1/status") as response,
        ):
            response.raise_for_status()
            return await response.json()

    async def refuses(self) -> str:
        """Wait until an edit is refused; what is said of it."""

        async def errors() -> str:
            return "\n".join((await self.status())["errors"])

        return await until(errors)


TOO_MANY = 100
"""Failed calls after which a load gives up: they would fill the memory."""


class Load:
    """Calls that go on until the block ends or one fails, a few at a time; answers are kept."""

    def __init__(self, call: Call, concurrency: int = 4) -> None:
        self._call = call
        self._concurrency = concurrency
        self._over = False
        self._news = asyncio.Event()
        self.answers: list[str] = []
        self.failed: list[Exception] = []

    async def __aenter__(self) -> Self:
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._workers)

    async def _work(self) -> None:
        while not self._over and len(self.failed) < TOO_MANY:
            try:
                self.answers.append(await self._call())
            except Exception as error:
                self.failed.append(error)
                await asyncio.sleep(0)  # a call that fails at once never gave way to others
            self._news.set()

    async def more(self, calls: int) -> None:
        """Wait until so many more calls were answered."""
        end = len(self.answers) + calls
        await self._until(lambda: len(self.answers) >= end)

    async def only(self, version: str, calls: int) -> None:
        """Wait until so many calls in a row were answered by this version."""
        await self._until(lambda: self.answers[-calls:] == [version] * calls)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not is_so():
                assert not self.failed
                self._news.clear()
                await self._news.wait()


async def share(call: Call, calls: int, concurrency: int = 4) -> dict[str, float]:
    """Per cent of so many calls by who answered; no call may fail."""
    left = iter(range(calls))

    async def work() -> list[str]:
        return [await call() for _ in left]

    answers = await asyncio.gather(*(work() for _ in range(concurrency)))
    counts = Counter(version for some in answers for version in some)
    return {version: 100 * count / calls for version, count in counts.items()}


@asynccontextmanager
async def http_server(version: str) -> AsyncIterator[int]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=version)

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as server:
        assert server.port is not None
        yield server.port


def grpc_server(version: str) -> AbstractAsyncContextManager[int]:
    async def answer(_request: bytes, _call: Any) -> bytes:
        return version.encode()

    return aio_serving(METHOD, answer)


# Each way in which a program is a member of the mesh: what it calls, and how.


@asynccontextmanager
async def aio_channel(mesh: meshlib.Mesh, host: str, seconds: float) -> AsyncIterator[Call]:
    async with mesh.grpc.aio_channel(host) as channel:
        get = channel.unary_unary(METHOD)

        async def call() -> str:
            return (await get(b"", timeout=seconds)).decode()

        yield call


@asynccontextmanager
async def sync_channel(mesh: meshlib.Mesh, host: str, seconds: float) -> AsyncIterator[Call]:
    with mesh.grpc.channel(host) as channel:
        get = channel.unary_unary(METHOD)

        async def call() -> str:
            return (await asyncio.to_thread(get, b"", timeout=seconds)).decode()

        yield call


@asynccontextmanager
async def session(mesh: meshlib.Mesh, host: str, seconds: float) -> AsyncIterator[Call]:
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with mesh.aiohttp.session(timeout=timeout, raise_for_status=True) as session:

        async def call() -> str:
            async with session.get(f"http://{host}/") as response:
                return await response.text()

        yield call


@dataclass(frozen=True)
class Member:
    """``async with member(mesh, seconds=1) as call``, where ``seconds`` is each call's deadline."""

    service: str
    enter: Callable[[meshlib.Mesh, str, float], AbstractAsyncContextManager[Call]]

    def __call__(
        self, mesh: meshlib.Mesh, host: str = "", *, seconds: float = 10
    ) -> AbstractAsyncContextManager[Call]:
        return self.enter(mesh, host or f"{self.service}:9080", seconds)


MEMBERS = {
    "aio": Member("reviews", aio_channel),
    "sync": Member("reviews", sync_channel),
    "http": Member("details", session),
}


@pytest.fixture
def members() -> dict[str, Member]:
    return MEMBERS


@pytest.fixture(params=MEMBERS)
def member(request: pytest.FixtureRequest) -> Member:
    return MEMBERS[request.param]


@pytest.fixture
def load() -> type[Load]:
    return Load


@pytest.fixture(name="share")
def share_of_calls() -> Callable[..., Awaitable[dict[str, float]]]:
    return share


@pytest.fixture(name="until")
def until_it_is_so() -> Callable[..., Awaitable[Any]]:
    return until


@pytest.fixture
async def upstreams() -> AsyncIterator[Ports]:
    """Two versions of each service; each answers with its version."""
    servers = {"reviews": grpc_server, "details": http_server}
    async with AsyncExitStack() as stack:
        yield {
            (name, version): await stack.enter_async_context(servers[name](version))
            for name in servers
            for version in VERSIONS
        }


@pytest.fixture
def folder(tmp_path: Path, upstreams: Ports) -> Folder:
    """Half of the calls to each version, at first."""
    return Folder(tmp_path / "mesh", upstreams)


@pytest.fixture
async def plane(folder: Folder, tmp_path: Path) -> AsyncIterator[Plane]:
    log = tmp_path / "serve.log"
    plane = Plane(folder.path, log)
    try:
        await plane.start()
        yield plane
    finally:
        plane.stop()
        print(log.read_text())
