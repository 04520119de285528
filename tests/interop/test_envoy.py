"""The same YAML under a real Envoy: what it takes, where its calls go, how it follows an edit."""

import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

pytestmark = pytest.mark.interop

EXTENSIONS = "type.googleapis.com/envoy.extensions"
MANAGER = f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = f"{EXTENSIONS}.filters.http.router.v3.Router"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
NODE = "envoy-1"
# 5 points are 5 standard deviations of so many even draws: a false alarm in two million runs.
CALLS = 2500
POINTS = 5.0


class Envoy:
    """A running Envoy: where it listens, and what it says of itself."""

    def __init__(self, admin: str, protocol: str) -> None:
        self._admin = admin
        self.protocol = protocol

    async def ask(self, path: str) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self._admin}{path}") as response,
        ):
            text = await response.text()
            assert response.status == 200, text
            return json.loads(text)

    async def is_ready(self) -> bool:
        return (await self.ask("/server_info"))["state"] == "LIVE"

    async def port(self) -> int:
        (listener,) = (await self.ask("/listeners?format=json"))["listener_statuses"]
        return listener["local_address"]["socket_address"]["port_value"]

    async def counts(self, ending: str) -> dict[str, int]:
        stats = (await self.ask(f"/stats?format=json&filter={ending}$"))["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "value" in stat}


@pytest.fixture(params=["GRPC", "DELTA_GRPC"])
async def sidecar(
    request: pytest.FixtureRequest,
    envoy: Path,
    plane: Any,
    tmp_path: Path,
    until: Callable[..., Awaitable[Any]],
) -> AsyncIterator[Envoy]:
    """Envoy beside a program: its port of the loopback takes what the program calls."""
    config, admin, log = (tmp_path / name for name in ("envoy.json", "envoy.admin", "envoy.log"))
    config.write_text(json.dumps(bootstrap(plane.address, request.param)))
    process = spawn(envoy, "-c", config, "--admin-address-path", admin, "--log-path", log)

    async def address() -> str:
        assert process.poll() is None, log.read_text()
        return admin.read_text() if admin.exists() else ""

    try:
        running = Envoy(await until(address), "delta" if "DELTA" in request.param else "sotw")
        await until(running.is_ready)
        yield running
    finally:
        process.terminate()
        process.wait(10)
        print(log.read_text())


def spawn(envoy: Path, *arguments: object) -> subprocess.Popen[bytes]:
    quiet = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
    return subprocess.Popen([envoy, *map(str, arguments), *quiet], stderr=subprocess.DEVNULL)


@pytest.fixture(params=["grpc", "http"])
async def call(
    request: pytest.FixtureRequest, sidecar: Envoy
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """A call through Envoy by the name that the mesh knows; which version answered."""
    through = f"127.0.0.1:{await sidecar.port()}"
    if request.param == "grpc":
        options = (("grpc.default_authority", "reviews:9080"),)
        async with grpc.aio.insecure_channel(through, options) as channel:
            get = channel.unary_unary("/bookinfo.Reviews/Get")

            async def version() -> str:
                return (await get(b"", timeout=10)).decode()

            yield version
    else:
        async with aiohttp.ClientSession(f"http://{through}") as session:

            async def version() -> str:
                async with session.get("/", headers={"host": "details:9080"}) as response:
                    response.raise_for_status()
                    return await response.text()

            yield version


async def test_calls_through_envoy_are_split_by_weight(call: Any, share: Any) -> None:
    shares = await share(call, CALLS)
    assert shares == {
        "v1": pytest.approx(50, abs=POINTS),
        "v2": pytest.approx(50, abs=POINTS),
    }


async def test_envoy_accepts_every_resource(sidecar: Envoy, plane: Any, until: Any) -> None:
    client = await until(lambda: in_sync(plane))
    assert set(client["types"]) == {"cds", "eds", "rds"}
    assert all(each["acked"] == each["sent"] != "" for each in client["types"].values())
    assert client["types"]["cds"]["subscribed"] == "*"
    assert client["types"]["rds"]["subscribed"] == ["9080"]
    assert client["kind"] == "envoy"
    assert client["protocol"] == sidecar.protocol
    assert (await plane.status())["nacks"] == []
    assert (await sidecar.counts("cluster_manager.cds.update_success")).popitem()[1] >= 1
    rejected = await sidecar.counts("update_rejected")
    assert {"cluster_manager.cds.update_rejected", "http.ingress.rds.9080.update_rejected"} <= set(
        rejected
    )
    assert not any(rejected.values()), rejected
    # Each version's endpoints by EDS, and each cluster in force.
    dump = json.dumps(await sidecar.ask("/config_dump?include_eds"))
    assert '"error_state"' not in dump
    for name in ("reviews", "details"):
        for subset in ("", "v1", "v2"):
            cluster = f"outbound|9080|{subset}|{name}.default.svc.cluster.local"
            assert f"cluster.{cluster}.update_rejected" in rejected
            assert cluster in dump


async def test_an_edit_is_followed_without_a_failed_call(
    call: Any, folder: Any, plane: Any, share: Any, load: Any, until: Any
) -> None:
    async with load(call) as calls:
        await calls.more(200)
        folder.split(0, 100)
        await calls.only("v2", 200)
        await until(lambda: in_sync(plane))
        await calls.more(200)
    assert calls.failed == []
    assert await share(call, 200) == {"v2": 100}
    assert (await plane.status())["nacks"] == []


async def test_an_edit_that_is_refused_changes_nothing(
    call: Any, sidecar: Envoy, folder: Any, plane: Any, share: Any, load: Any
) -> None:
    folder.split(0, 100)
    async with load(call) as calls:
        await calls.only("v2", 50)
        before = (await plane.status())["version"]
        taken = await sidecar.counts("update_success")
        folder.write("routes.yaml", "kind: VirtualService\nspec: {hosts: [")
        assert "routes.yaml:" in await plane.refuses()
        await calls.more(100)
    assert calls.failed == []
    assert await share(call, 100) == {"v2": 100}
    assert (await plane.status())["version"] == before
    assert await sidecar.counts("update_success") == taken


async def test_calls_through_envoy_outlive_the_control_plane(
    call: Any, folder: Any, plane: Any, load: Any
) -> None:
    async with load(call) as calls:
        await calls.more(50)
        plane.kill()
        await calls.more(50)
        folder.split(0, 100)
        await plane.start()
        await calls.only("v2", 50)
    assert calls.failed == []


async def in_sync(plane: Any) -> dict[str, Any] | None:
    """What the control plane knows of Envoy, once all that it was sent is accepted."""
    status = await plane.status()
    assert status["nacks"] == []
    for client in status["clients"]:
        states = {each["state"] for each in client["types"].values()}
        if client["id"] == NODE and len(client["types"]) == 3 and states == {"ACK"}:
            return client
    return None


def bootstrap(ads: str, encoding: str) -> dict[str, Any]:
    """As istiod's agent writes it, less what is not judged here: one listener, routes by RDS."""
    ours = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": NODE, "cluster": "productpage", "metadata": {"NAMESPACE": "default"}},
        "admin": {"address": socket_address("127.0.0.1:0")},
        "dynamic_resources": {
            "ads_config": {
                "api_type": encoding,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}],
            },
            "cds_config": ours,
        },
        "static_resources": {
            "listeners": [
                {
                    "name": "outbound",
                    "address": socket_address("127.0.0.1:0"),
                    "filter_chains": [{"filters": [http_connection_manager(ours)]}],
                }
            ],
            "clusters": [control_plane_cluster(ads)],
        },
    }


def http_connection_manager(ours: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": MANAGER,
            "stat_prefix": "ingress",
            "codec_type": "AUTO",
            "rds": {"route_config_name": "9080", "config_source": ours},
            "http_filters": [
                {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}
            ],
        },
    }


def control_plane_cluster(ads: str) -> dict[str, Any]:
    return {
        "name": "ads",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": "ads",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address(ads)}}]}],
        },
    }


def socket_address(place: str) -> dict[str, Any]:
    host, port = place.split(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
