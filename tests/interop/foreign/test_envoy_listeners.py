"""Envoy with nothing of its own: its listeners, routes, clusters and endpoints are all ours."""

import json
import random
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshlib.controlplane import Scope
from meshlib.controlplane.compile.sidecar import NOT_HTTP
from meshlib.controlplane.compile.view import View
from meshlib.controlplane.manifests import accepted, read_texts

pytestmark = pytest.mark.interop
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
NODE = "envoy-1"
WORKLOAD = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-behind-envoy}
spec: {address: INBOUND, ports: {grpc: PORT}, labels: {app: reviews, version: v1}}
"""


class Envoy:
    """A running Envoy that says what is in force."""

    def __init__(self, admin: str, address: str, inbound: str) -> None:
        self.admin, self.address, self.inbound = admin, address, inbound

    async def ask(self, path: str) -> Any:
        async with (
            aiohttp.ClientSession(f"http://{self.admin}") as session,
            session.get(path) as response,
        ):
            text = await response.text()
            assert response.status == 200, text
            return json.loads(text)

    async def listeners(self) -> dict[str, str]:
        return {
            one["name"]: "{address}:{port_value}".format(**one["local_address"]["socket_address"])
            for one in (await self.ask("/listeners?format=json")).get("listener_statuses", ())
        }

    async def counts(self, ending: str) -> dict[str, int]:
        stats = (await self.ask(f"/stats?format=json&filter={ending}$"))["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "value" in stat}


def loopback() -> str:
    """An address of this machine's own that no other test listens on."""
    return f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(2, 250)}"


@pytest.fixture(params=["GRPC", "DELTA_GRPC"])
async def sidecar(
    request: pytest.FixtureRequest,
    envoy: Path,
    plane: Any,
    tmp_path: Path,
    until: Callable[..., Awaitable[Any]],
) -> AsyncIterator[Envoy]:
    config, admin, log = (tmp_path / name for name in ("envoy.json", "envoy.admin", "envoy.log"))
    address, inbound = loopback(), loopback()
    config.write_text(json.dumps(bootstrap(plane.address, request.param, address, inbound)))
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
    places = ("-c", config, "--admin-address-path", admin, "--log-path", log)
    process = spawn(envoy, *places, *options)

    async def ready() -> str:
        assert process.poll() is None, log.read_text()
        return admin.read_text() if admin.exists() else ""

    try:
        running = Envoy(await until(ready), address, inbound)
        await until(running.listeners)
        yield running
    finally:
        process.terminate()
        process.wait(10)
        print(log.read_text())


def spawn(*command: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL)


@pytest.fixture
async def client(sidecar: Envoy, call_at: Any) -> Any:
    """A program beside Envoy: calls services by their names, at Envoy's address."""
    return await call_at(f"{sidecar.address}:9080")


async def in_sync(plane: Any) -> dict[str, Any] | None:
    status = await plane.status()
    assert status["nacks"] == []
    for client in status["clients"]:
        states = {each["state"] for each in client["types"].values()}
        if client["id"] == NODE and len(client["types"]) == 4 and states == {"ACK"}:
            return client
    return None


async def test_every_port_has_a_listener_and_all_is_accepted(
    sidecar: Envoy, plane: Any, until: Any
) -> None:
    assert await sidecar.listeners() == {
        f"{sidecar.address}_9080": f"{sidecar.address}:9080",
        f"inbound_{sidecar.inbound}_9080": f"{sidecar.inbound}:9080",
    }
    client = await until(lambda: in_sync(plane))
    assert {name: each["subscribed"] for name, each in client["types"].items()}["lds"] == "*"
    rejected = await sidecar.counts("update_rejected")
    assert f"http.outbound_{sidecar.address}_9080.rds.9080.update_rejected" in rejected
    assert not any(rejected.values()), rejected


def written_down(root: Path) -> dict[str, str]:
    """All manifests of the examples, by folder, and of the compiler's tests.

    One of those names hosts that do not exist: it is refused before anybody is served.
    """
    cases = {path.name: path.read_text() for path in root.glob("tests/golden/compile/*.in.yaml")}
    del cases["lost_destinations.in.yaml"]
    services = (root / "examples/bookinfo/mesh/services.yaml").read_text()
    for scene in root.glob("examples/bookinfo/scenes/*.yaml"):
        cases[scene.name] = f"{services}\n---\n{scene.read_text()}"
    bare = [one for one in services.split("\n---\n") if "kind: Service\n" in one]
    for rules in root.glob("examples/*/rules.yaml"):
        cases[rules.parent.name] = "\n---\n".join([*bare, rules.read_text()])
    return cases


async def test_envoy_takes_all_that_is_written_down(
    sidecar: Envoy, folder: Any, plane: Any, until: Any, root: Path
) -> None:
    for name in ("routes.yaml", "workloads.yaml"):
        folder.write(name, "")
    for case, text in written_down(root).items():
        before = (await plane.status())["version"]
        folder.write("services.yaml", text)

        async def is_applied(last: str = before, case: str = case) -> bool:
            status = await plane.status()
            assert status["errors"] == [], case
            return status["version"] != last

        await until(is_applied)
        view = View(accepted(*read_texts([(Path(case), text)])), Scope())
        ports = {
            str(port.number)
            for service in view.services.values()
            for port in service.ports
            if port.protocol not in NOT_HTTP
        }

        async def listens(ports: set[str] = ports) -> bool:
            known = await sidecar.listeners()
            return ports == {at.rpartition(":")[2] for name, at in known.items() if name[0] != "i"}

        await until(listens)
        await until(lambda: in_sync(plane))
    rejected = await sidecar.counts("update_rejected")
    assert not any(rejected.values()), rejected


async def test_a_new_port_is_listened_on_while_envoy_runs(
    sidecar: Envoy, folder: Any, client: Any, until: Any
) -> None:
    services = (folder.path / "services.yaml").read_text()
    more = services.replace("port: 9080}]", "port: 9080}, {name: grpc-more, port: 9443}]", 1)
    folder.write("services.yaml", more)

    async def listens() -> bool:
        return f"{sidecar.address}_9443" in await sidecar.listeners()

    await until(listens)
    folder.write("services.yaml", services)
    await client.ask(20)

    async def is_silent() -> bool:
        return not await listens()

    await until(is_silent)
    answers = await client.ask(200)
    assert answers.keys() == {"v1", "v2"}


async def test_twenty_edits_are_followed_without_a_failed_call(
    client: Any, folder: Any, plane: Any, until: Any, twenty_edits: Any
) -> None:
    await twenty_edits(client, folder)
    await until(lambda: in_sync(plane))


async def test_callers_come_in_through_the_envoy_of_the_workload(
    sidecar: Envoy, folder: Any, until: Any, upstreams: Any, call_at: Any
) -> None:
    port = upstreams["reviews", "v1"]
    said = WORKLOAD.replace("INBOUND", sidecar.inbound).replace("PORT", str(port))
    folder.write("behind.yaml", said)
    name = f"inbound_{sidecar.inbound}_{port}"

    async def listens() -> bool:
        return name in await sidecar.listeners()

    await until(listens)
    caller = await call_at(f"{sidecar.inbound}:{port}")
    assert await caller.ask(50) == {"v1": 50}
    cluster = f"cluster.inbound|{port}||.upstream_rq_total"
    counted = await sidecar.ask("/stats?format=json&filter=upstream_rq_total")
    assert {"name": cluster, "value": 50} in counted["stats"]


def bootstrap(ads: str, kind: str, address: str, inbound: str) -> dict[str, Any]:
    ours = {"ads": {}, "resource_api_version": "V3"}
    metadata = {
        "NAMESPACE": "default",
        "LABELS": {"app": "reviews"},
        "MESHLIB_LISTEN_ADDRESS": address,
        "MESHLIB_INBOUND_ADDRESS": inbound,
    }
    return {
        "node": {"id": NODE, "cluster": "reviews", "metadata": metadata},
        "admin": {"address": socket_address("127.0.0.1:0")},
        "dynamic_resources": {
            "ads_config": {
                "api_type": kind,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}],
            },
            "cds_config": ours,
            "lds_config": ours,
        },
        "static_resources": {"clusters": [control_plane_cluster(ads)]},
    }


def control_plane_cluster(ads: str) -> dict[str, Any]:
    place = {"lb_endpoints": [{"endpoint": {"address": socket_address(ads)}}]}
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
        "load_assignment": {"cluster_name": "ads", "endpoints": [place]},
    }


def socket_address(place: str) -> dict[str, Any]:
    host, port = place.split(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
