"""Our client under go-control-plane's snapshot cache, and under ours: one suite for both."""

import asyncio
import base64
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

import meshlib
from meshlib import model
from meshlib.xds.codec import encode

pytestmark = pytest.mark.interop
OURS = Path(__file__).with_name("our_plane.py")
SOURCE = {"PYTHONPATH": str(Path(__file__).parents[3] / "src")}
HOST = "reviews:9080"
OTHERS = 99
KILLS = {"go-control-plane": 20, "meshlib": 4}  # Python takes its time to start
Resource = model.Listener | model.RouteConfiguration | model.Cluster | model.ClusterLoadAssignment


class Plane:
    """A control plane of another process, and what it was last told to serve."""

    def __init__(self, name: str, start: Callable[[str], Awaitable[Any]]) -> None:
        self.name = name
        self._start = start
        self._last: dict[str, Any] = {"do": "clear"}
        self.address = "127.0.0.1:0"

    async def start(self) -> Self:
        self._program = await self._start(self.address)
        self.address = (await self._program.hear())["address"]
        await self._tell(self._last)
        return self

    async def serve(self, version: str, resources: Iterable[Resource]) -> None:
        """A resource may be broken: what is refused is for the client to say."""
        packed = [base64.b64encode(encode(one).SerializeToString()).decode() for one in resources]
        self._last = {"do": "set", "version": version, "resources": packed}
        await self._tell(self._last)

    async def end_streams(self) -> None:
        await self._tell({"do": "restart"})

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self._program.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self._program.process.send_signal(number)

    async def _tell(self, command: dict[str, Any]) -> None:
        assert await self._program.ask(json.dumps(command)) == {}


@pytest.fixture(params=["go-control-plane", "meshlib"])
async def control_plane(request: pytest.FixtureRequest, start: Any) -> AsyncIterator[Plane]:
    async def started(address: str) -> Any:
        if request.param == "meshlib":
            return await start(sys.executable, OURS, address, env=SOURCE)
        return await start(request.getfixturevalue("go_judges") / "plane", address)

    plane = await Plane(request.param, started).start()
    yield plane
    plane.signal(signal.SIGCONT)


def world(ports: dict[tuple[str, str], int], version: str) -> list[Resource]:
    """All calls to "reviews" go to one version; each has a cluster of its own."""
    listeners, tables, clusters, endpoints = [], [], [], []
    for name, route_to in ((HOST, version), *((f"other-{n}:80", "v1") for n in range(OTHERS))):
        http = model.HttpConnectionManager(routes=model.Rds(name))
        listeners.append(model.Listener(name=name, http=http))
        route = model.Route(
            match=model.RouteMatch(path=model.PathPrefix("/")),
            action=model.RouteAction(cluster=route_to),
        )
        host = model.VirtualHost(name=name, domains=("*",), routes=(route,))
        tables.append(model.RouteConfiguration(name=name, virtual_hosts=(host,)))
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


@pytest.fixture(params=["sotw", "delta"])
async def mesh(request: pytest.FixtureRequest, control_plane: Plane) -> AsyncIterator[meshlib.Mesh]:
    server = {
        "server_uri": control_plane.address,
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["delta"] if request.param == "delta" else [],
    }
    bootstrap = {"xds_servers": [server], "node": {"id": "judged"}}
    async with meshlib.Mesh("productpage", bootstrap=bootstrap) as mesh:
        yield mesh
        (asked,) = mesh.status()["source"]["servers"]
        assert asked["encoding"] == request.param


@pytest.fixture
async def call(mesh: meshlib.Mesh, members: Any) -> AsyncIterator[Any]:
    async with mesh.grpc.aio_channel(HOST) as channel:
        are = channel.unary_unary("/test.Who/Are")

        async def call() -> str:
            return (await are(b"", timeout=10)).decode()

        yield call


def states(mesh: meshlib.Mesh, kind: str) -> dict[str, str]:
    types = mesh.status()["source"]["types"].items()
    (known,) = (each["resources"] for url, each in types if url.endswith(f".{kind}"))
    return {name: each["state"] for name, each in known.items()}


async def test_the_first_configuration_is_obeyed_and_each_change(
    call: Any, control_plane: Plane, upstreams: Any, load: Any
) -> None:
    await control_plane.serve("1", world(upstreams, "v1"))
    assert await call() == "v1"
    async with load(call) as calls:
        for version in ("2", "3", "4", "5"):
            wanted = "v1" if int(version) % 2 else "v2"
            await control_plane.serve(version, world(upstreams, wanted))
            await calls.only(wanted, 50)
    assert calls.failed == []


async def test_what_is_removed_is_no_longer_of_the_mesh(
    call: Any, control_plane: Plane, mesh: meshlib.Mesh, upstreams: Any, until: Any
) -> None:
    await control_plane.serve("1", world(upstreams, "v1"))
    assert await call() == "v1"
    left = [one for one in world(upstreams, "v1") if getattr(one, "name", "") != HOST]
    await control_plane.serve("2", left)

    async def is_gone() -> bool:
        return states(mesh, "Listener")[HOST] == "DOES_NOT_EXIST"

    await until(is_gone)
    await control_plane.serve("3", world(upstreams, "v2"))

    async def is_back() -> bool:
        return states(mesh, "Listener")[HOST] == "ACKED"

    await until(is_back)

    async def is_called_again() -> bool:  # its routes may follow a moment later
        return await call() == "v2"

    await until(is_called_again)


async def test_one_bad_resource_of_a_hundred_spoils_no_other(
    call: Any, control_plane: Plane, mesh: meshlib.Mesh, upstreams: Any, load: Any, until: Any
) -> None:
    await control_plane.serve("1", world(upstreams, "v1"))
    assert await call() == "v1"
    assert await mesh.aready("other-7:80")
    async with load(call) as calls:
        await control_plane.serve("2", map(spoiled, world(upstreams, "v2")))
        await calls.only("v2", 50)
    assert calls.failed == []

    async def is_refused() -> bool:
        known = states(mesh, "RouteConfiguration")
        return (known["other-7:80"], known[HOST]) == ("NACKED", "ACKED")

    await until(is_refused)


def spoiled(resource: Resource) -> Resource:
    """A regular expression that cannot be read, in the table of one other service."""
    if not isinstance(resource, model.RouteConfiguration) or resource.name != "other-7:80":
        return resource
    (host,) = resource.virtual_hosts
    route = replace(host.routes[0], match=model.RouteMatch(path=model.PathRegex("(")))
    return replace(resource, virtual_hosts=(replace(host, routes=(route,)),))


@pytest.mark.parametrize("version", ["1", "2"], ids=["same-version", "other-version"])
async def test_calls_go_on_when_the_control_plane_is_started_anew(
    call: Any, control_plane: Plane, upstreams: Any, load: Any, version: str
) -> None:
    await control_plane.serve("1", world(upstreams, "v1"))
    assert await call() == "v1"
    async with load(call) as calls:
        await control_plane.kill()
        await calls.more(50)
        await control_plane.start()
        await control_plane.serve(version, world(upstreams, "v1"))
        await calls.more(50)
        await control_plane.serve("3", world(upstreams, "v2"))
        await calls.only("v2", 50)
    assert calls.failed == []


async def test_calls_go_on_when_every_stream_ends(
    call: Any, control_plane: Plane, upstreams: Any, load: Any
) -> None:
    await control_plane.serve("1", world(upstreams, "v1"))
    assert await call() == "v1"
    async with load(call) as calls:
        await control_plane.end_streams()
        await control_plane.serve("2", world(upstreams, "v2"))
        await calls.only("v2", 50)
    assert calls.failed == []


async def test_calls_go_on_while_the_control_plane_stands_still(
    call: Any, control_plane: Plane, upstreams: Any, load: Any
) -> None:
    await control_plane.serve("1", world(upstreams, "v1"))
    assert await call() == "v1"
    async with load(call) as calls:
        control_plane.signal(signal.SIGSTOP)
        await calls.more(500)
        control_plane.signal(signal.SIGCONT)
        await control_plane.serve("2", world(upstreams, "v2"))
        await calls.only("v2", 50)
    assert calls.failed == []


async def test_a_control_plane_may_die_at_any_moment(
    call: Any, control_plane: Plane, upstreams: Any, load: Any
) -> None:
    await control_plane.serve("0", world(upstreams, "v1"))
    assert await call() == "v1"
    async with load(call) as calls:
        for point in range(KILLS[control_plane.name]):
            change = control_plane.serve(str(point), world(upstreams, ("v2", "v1")[point % 2]))
            changing = asyncio.create_task(change)
            await asyncio.sleep(point * 0.002)
            await control_plane.kill()
            changing.cancel()
            await asyncio.gather(changing, return_exceptions=True)
            await control_plane.start()
        await control_plane.serve("last", world(upstreams, "v2"))
        await calls.only("v2", 50)
    assert calls.failed == []
