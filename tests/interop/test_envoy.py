"""The same YAML under a real Envoy: what it takes, where its calls go, how it follows an edit."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from meshlib.testing.envoy import (
    ANYWHERE,
    BY_ADS,
    Envoy,
    bootstrap,
    http2_cluster,
    running,
    socket_address,
    stream_to,
)

pytestmark = pytest.mark.interop

EXTENSIONS = "type.googleapis.com/envoy.extensions"
MANAGER = f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = f"{EXTENSIONS}.filters.http.router.v3.Router"
NODE = "envoy-1"
# 5 points are 5 standard deviations of so many even draws: a false alarm in two million runs.
CALLS = 2500
POINTS = 5.0


@dataclass
class Sidecar:
    envoy: Envoy
    protocol: str


@pytest.fixture(params=["GRPC", "DELTA_GRPC"])
async def sidecar(
    request: pytest.FixtureRequest, envoy: Path, plane: Any, tmp_path: Path
) -> AsyncIterator[Sidecar]:
    """Envoy beside a program: its port of the loopback takes what the program calls."""
    (folder := tmp_path / "envoy").mkdir()
    async with running(envoy, config(plane.address, request.param), folder) as one:
        yield Sidecar(one, "delta" if "DELTA" in request.param else "sotw")


@pytest.fixture(params=["grpc", "http"])
async def call(
    request: pytest.FixtureRequest, sidecar: Sidecar
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """A call through Envoy by the name that the mesh knows; which version answered."""
    through = f"127.0.0.1:{await sidecar.envoy.port()}"
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


async def test_envoy_accepts_every_resource(sidecar: Sidecar, plane: Any, until: Any) -> None:
    client = await until(lambda: in_sync(plane))
    assert set(client["types"]) == {"cds", "eds", "rds"}
    assert all(each["acked"] == each["sent"] != "" for each in client["types"].values())
    assert client["types"]["cds"]["subscribed"] == "*"
    assert client["types"]["rds"]["subscribed"] == ["9080"]
    assert client["kind"] == "envoy"
    assert client["protocol"] == sidecar.protocol
    assert (await plane.status())["nacks"] == []
    assert (await sidecar.envoy.counts("cluster_manager.cds.update_success")).popitem()[1] >= 1
    rejected = await sidecar.envoy.counts("update_rejected")
    assert {"cluster_manager.cds.update_rejected", "http.ingress.rds.9080.update_rejected"} <= set(
        rejected
    )
    assert not any(rejected.values()), rejected
    # Each version's endpoints by EDS, and each cluster in force.
    dump = json.dumps(await sidecar.envoy.ask("/config_dump?include_eds"))
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
    call: Any, sidecar: Sidecar, folder: Any, plane: Any, share: Any, load: Any
) -> None:
    folder.split(0, 100)
    async with load(call) as calls:
        await calls.only("v2", 50)
        before = (await plane.status())["version"]
        taken = await sidecar.envoy.counts("update_success")
        folder.write("routes.yaml", "kind: VirtualService\nspec: {hosts: [")
        assert "routes.yaml:" in await plane.refuses()
        await calls.more(100)
    assert calls.failed == []
    assert await share(call, 100) == {"v2": 100}
    assert (await plane.status())["version"] == before
    assert await sidecar.envoy.counts("update_success") == taken


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


def config(ads: str, encoding: str) -> dict[str, Any]:
    """As istiod's agent writes it, less what is not judged here: one listener, routes by RDS."""
    outbound = {
        "name": "outbound",
        "address": socket_address(ANYWHERE),
        "filter_chains": [{"filters": [http_connection_manager()]}],
    }
    return bootstrap(
        listeners=[outbound],
        clusters=[http2_cluster("ads", ads)],
        node={"id": NODE, "cluster": "productpage", "metadata": {"NAMESPACE": "default"}},
        dynamic_resources={"ads_config": stream_to("ads", encoding), "cds_config": BY_ADS},
    )


def http_connection_manager() -> dict[str, Any]:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": MANAGER,
            "stat_prefix": "ingress",
            "codec_type": "AUTO",
            "rds": {"route_config_name": "9080", "config_source": BY_ADS},
            "http_filters": [
                {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}
            ],
        },
    }
