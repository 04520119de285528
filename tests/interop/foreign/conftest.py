"""Programs on other people's gRPC and xDS, each told what to do by lines on its standard input."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import pytest

JS_CLIENT = Path(__file__).parents[1] / "js/client.js"
PYTHON_CLIENT = Path(__file__).parents[1] / "stock_client.py"
TARGET = "xds:///reviews:9080"
VERSIONS = ("v1", "v2")


class Program:
    """Answers with a line of JSON to each line that it is given."""

    def __init__(self, *command: object, env: dict[str, str] | None = None) -> None:
        self._command = [str(word) for word in command]
        self._env = os.environ | (env or {})

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.wait()

    async def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(await self.process.stdout.readline())

    async def ask(self, line: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        return await self.hear()


class Client(Program):
    """Makes as many calls as it is asked for; its answers are counted by what they were."""

    async def until(self, wanted: str) -> set[str]:
        """Call until only ``wanted`` answers; whatever else answered on the way."""
        others: set[str] = set()
        while set(answers := await self.ask(20)) != {wanted}:
            others |= answers.keys() - {wanted}
            assert not any(answer.startswith("failed") for answer in others), others
        return others


def bootstrap(name: str, address: str, template: str = "") -> dict[str, str]:
    """The environment of a program on stock gRPC."""
    server = {"server_uri": address, "channel_creds": [{"type": "insecure"}]}
    said = {
        "xds_servers": [{**server, "server_features": ["xds_v3"]}],
        # grpc-js takes no node that does not say where it stands.
        "node": {"id": name, "locality": {}, "metadata": {"NAMESPACE": "default"}},
        "server_listener_resource_name_template": template,
    }
    return {"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(said)}


@pytest.fixture(name="bootstrap")
def bootstrap_of() -> Callable[..., dict[str, str]]:
    return bootstrap


@pytest.fixture
async def run() -> AsyncIterator[Callable[[Program], Awaitable[Any]]]:
    """Start programs that end with the test."""
    async with AsyncExitStack() as stack:
        yield stack.enter_async_context


@pytest.fixture
def start(run: Any) -> Callable[..., Awaitable[Program]]:
    async def started(*command: object, env: dict[str, str] | None = None) -> Program:
        return await run(Program(*command, env=env))

    return started


@pytest.fixture
async def upstreams(go_judges: Path, run: Any) -> dict[tuple[str, str], int]:
    """Two servers in Go that cost this machine little; each answers with its version."""
    ports = {}
    for version in VERSIONS:
        server = await run(Program(go_judges / "server", "plain", "127.0.0.1:0", version))
        ports["reviews", version] = int((await server.hear())["address"].rpartition(":")[2])
    return ports


@pytest.fixture
def connect(request: pytest.FixtureRequest, run: Any) -> Callable[..., Awaitable[Client]]:
    """``await connect("go", address)``: a stock client under the control plane at the address."""

    async def connected(kind: str, address: str) -> Client:
        env = bootstrap(f"{kind}-client", address)
        match kind:
            case "go":
                command = [request.getfixturevalue("go_judges") / "client"]
            case "js":
                env["NODE_PATH"] = str(request.getfixturevalue("js_judges"))
                command = [request.getfixturevalue("program")("node"), JS_CLIENT]
            case style:
                command = [sys.executable, PYTHON_CLIENT, style]
        return await run(Client(*command, TARGET, env=env))

    return connected


@pytest.fixture
def call_at(go_judges: Path, run: Any) -> Callable[..., Awaitable[Client]]:
    """A client without xDS, that calls a host, "reviews" unless told, at an address."""

    async def connected(address: str, host: str = "reviews:9080") -> Client:
        return await run(Client(go_judges / "client", address, host))

    return connected
