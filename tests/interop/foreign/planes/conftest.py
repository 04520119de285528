"""Control planes of other processes that can be killed, and our client under their eyes."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import meshlib
from meshlib import model
from meshlib.clock import Dice
from meshlib.mesh import remote
from meshlib.testing.ads_law import AdsLaw
from meshlib.testing.relay import Relay
from meshlib.xds import lines
from meshlib.xds.backoff import Reconnects
from meshlib.xds.bootstrap import Node, Server
from meshlib.xds.client import XdsClient
from meshlib.xds.codec import encode
from meshlib.xds.transport import KEEPALIVE, Stream

OURS = Path(__file__).with_name("our_planes.py")
SOURCE = {"PYTHONPATH": str(Path(__file__).parents[4] / "src")}
HOST = "reviews:9080"
OTHERS = 99
HURRY = 200.0
Resource = model.Listener | model.RouteConfiguration | model.Cluster | model.ClusterLoadAssignment
Ports = dict[tuple[str, str], int]


@dataclass
class Program:
    """A control plane that obeys lines of JSON."""

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    address: str


Start = Callable[[str], Awaitable[Program]]


class Plane:
    """A control plane of another process, and what it was last told to serve."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._last: dict[str, Any] = {"do": "clear"}
        self._turns = asyncio.Lock()
        self.address = "127.0.0.1:0"

    async def start(self) -> None:
        self._program = await self._start(self.address)
        self.address = self._program.address
        await self._tell(self._last)

    async def serve(self, version: str, resources: Iterable[Resource]) -> None:
        """A resource may be broken: what is refused is for the client to say."""
        packed = [base64.b64encode(encode(one).SerializeToString()).decode() for one in resources]
        self._last = {"do": "set", "version": version, "resources": packed}
        await self._tell(self._last)

    async def end_streams(self) -> None:
        await self._tell({"do": "restart"})

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        async with self._turns:
            assert await self._program.reader.read() == b"", "it is dead"
        self._program.writer.close()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._program.pid, number)

    def end(self) -> None:
        """Also if it stands still, or is dead."""
        if not self._program.writer.is_closing():
            self._program.writer.close()
            self.signal(signal.SIGCONT)

    async def _tell(self, command: dict[str, Any]) -> None:
        async with self._turns:
            self._program.writer.write(f"{json.dumps(command)}\n".encode())
            answer = await self._program.reader.readline()
        assert json.loads(answer or b'"it is dead"') == {}


@pytest.fixture(scope="session")
def our_planes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket where a plane of ours can be had."""
    door = tmp_path_factory.mktemp("planes") / "door"
    with subprocess.Popen(
        [sys.executable, OURS, door],
        env=os.environ | SOURCE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        yield door
        process.stdin.close()


@pytest.fixture(params=["go-control-plane", "meshlib"])
async def a_plane(
    request: pytest.FixtureRequest, start: Any
) -> AsyncIterator[Callable[..., Awaitable[Plane]]]:
    """``await a_plane()``: one that runs."""
    planes: list[Plane] = []

    async def ours(address: str) -> Program:
        door = request.getfixturevalue("our_planes")
        reader, writer = await asyncio.open_unix_connection(door)
        writer.write(json.dumps({"address": address}).encode() + b"\n")
        said = json.loads(await reader.readline())
        return Program(said["pid"], reader, writer, said["address"])

    async def theirs(address: str) -> Program:
        program = await start(request.getfixturevalue("go_judges") / "plane", address)
        process = program.process
        where = (await program.hear())["address"]
        return Program(process.pid, process.stdout, process.stdin, where)

    async def made() -> Plane:
        planes.append(Plane(ours if request.param == "meshlib" else theirs))
        await planes[-1].start()
        return planes[-1]

    yield made
    for plane in planes:
        plane.end()


@pytest.fixture
async def control_plane(a_plane: Callable[[], Awaitable[Plane]]) -> Plane:
    return await a_plane()


@pytest.fixture
async def relay(control_plane: Plane) -> AsyncIterator[Relay]:
    async with Relay(control_plane.address) as relay:
        yield relay


@pytest.fixture
def world(upstreams: Ports) -> Callable[..., list[Resource]]:
    """``world("v1")``: all calls to "reviews" go there; each version has a cluster of its own.

    And a table of its own, so that a turn from one to the other changes all types. So has each
    ``edition``, which changes the listener and its table only.
    """
    return partial(_world, upstreams)


def _world(ports: Ports, version: str, edition: str = "") -> list[Resource]:
    listeners, tables, clusters, endpoints = [], [], [], []
    for name, route_to in ((HOST, version), *((f"other-{n}:80", "v1") for n in range(OTHERS))):
        table = f"{name}|{route_to}{edition}"
        http = model.HttpConnectionManager(routes=model.Rds(table))
        listeners.append(model.Listener(name=name, http=http))
        route = model.Route(
            match=model.RouteMatch(path=model.PathPrefix("/")),
            action=model.RouteAction(cluster=route_to),
        )
        host = model.VirtualHost(name=name, domains=("*",), routes=(route,))
        tables.append(model.RouteConfiguration(name=table, virtual_hosts=(host,)))
    for known in ("v1", "v2"):
        place = model.Address("127.0.0.1", ports["reviews", known])
        group = model.LocalityLbEndpoints(
            locality=model.Locality("here"),
            lb_endpoints=(model.Endpoint(address=place),),
            load_balancing_weight=1,
        )
        clusters.append(
            model.Cluster(name=known, http_protocol_options=model.HttpProtocolOptions(http2=True))
        )
        endpoints.append(model.ClusterLoadAssignment(cluster_name=known, endpoints=(group,)))
    return [*listeners, *tables, *clusters, *endpoints]


class Hurried(Reconnects):
    """Notes how long to wait, and waits a small part of it."""

    def __init__(self, noted: list[float], dice: Dice) -> None:
        super().__init__(dice)
        self._noted = noted

    def after_failure(self) -> float:
        self._noted.append(super().after_failure())
        return self._noted[-1] / HURRY

    def after_life(self, seconds: float) -> float:
        self._noted.append(super().after_life(seconds))
        return self._noted[-1] / HURRY


@pytest.fixture
def law() -> Iterator[AdsLaw]:
    """Whatever befalls the wire, what the client says there is lawful."""
    law = AdsLaw()
    yield law
    assert law.violations == []
    assert law.answers, "nothing was judged"


@pytest.fixture
def waits() -> list[float]:
    """The seconds that the client is to wait from the end of each stream to the next."""
    return []


@pytest.fixture
def streams() -> weakref.WeakSet[Stream]:
    """Those of the client that are still in memory."""
    return weakref.WeakSet()


@pytest.fixture
def keepalive() -> float:
    return KEEPALIVE


@pytest.fixture
def place(control_plane: Plane) -> str:
    """Where the client believes the control plane to be."""
    return control_plane.address


@pytest.fixture
def observed(
    monkeypatch: pytest.MonkeyPatch,
    law: AdsLaw,
    waits: list[float],
    streams: weakref.WeakSet[Stream],
    keepalive: float,
) -> None:
    """Every mesh of this test."""

    def connect(server: Server, node: Node, post: Any, *, delta: bool, keepalive: float) -> Stream:
        streams.add(stream := Stream(server, node, post, delta=delta, keepalive=keepalive))
        return stream

    monkeypatch.setattr(lines, "KEEPALIVE", keepalive)
    client = partial(XdsClient, wire=law, connect=connect, reconnects=partial(Hurried, waits))
    monkeypatch.setattr(remote, "XdsClient", client)


@pytest.fixture(params=["sotw", "delta"])
def encoding(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def mesh(encoding: str, place: str, observed: None) -> AsyncIterator[meshlib.Mesh]:
    server = {
        "server_uri": place,
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["delta"] if encoding == "delta" else [],
    }
    bootstrap = {"xds_servers": [server], "node": {"id": "judged"}}
    async with meshlib.Mesh("productpage", bootstrap=bootstrap) as mesh:
        yield mesh
        (asked,) = mesh.status()["source"]["servers"]
        assert asked["encoding"] == encoding


@pytest.fixture
async def call(mesh: meshlib.Mesh) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    async with mesh.grpc.aio_channel(HOST) as channel:
        are = channel.unary_unary("/test.Who/Are")

        async def call() -> str:
            return (await are(b"", timeout=10)).decode()

        yield call


@pytest.fixture
def states(mesh: meshlib.Mesh) -> Callable[[str], dict[str, str]]:
    """``states("Listener")``: what is known of each, by name."""

    def known(kind: str) -> dict[str, str]:
        types = mesh.status()["source"]["types"].items()
        (each,) = (known["resources"] for url, known in types if url.endswith(f".{kind}"))
        return {name: one["state"] for name, one in each.items()}

    return known
