"""Envoy with nothing of its own: its listeners, routes, clusters and endpoints are all ours."""

from typing import Any

import pytest

pytestmark = pytest.mark.interop
WORKLOAD = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-behind-envoy}
spec: {address: INBOUND, ports: {grpc: PORT}, labels: {app: reviews, version: v1}}
"""


@pytest.fixture(params=["GRPC", "DELTA_GRPC"])
async def sidecar(request: pytest.FixtureRequest, plane: Any, start_envoy: Any) -> Any:
    return await start_envoy(plane.address, request.param)


@pytest.fixture
async def client(sidecar: Any, call_at: Any) -> Any:
    """A program beside Envoy: calls services by their names, at Envoy's address."""
    return await call_at(f"{sidecar.address}:9080")


async def in_sync(plane: Any) -> Any:
    status = await plane.status()
    assert status["nacks"] == []
    for client in status["clients"]:
        states = {each["state"] for each in client["types"].values()}
        if client["id"] == "envoy-0" and len(client["types"]) == 4 and states == {"ACK"}:
            return client
    return None


async def test_every_port_has_a_listener_and_all_is_accepted(
    sidecar: Any, plane: Any, until: Any
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


async def test_the_routes_of_a_port_are_those_of_all_its_hosts(
    sidecar: Any, plane: Any, until: Any
) -> None:
    await until(lambda: in_sync(plane))
    dumped = await sidecar.ask("/config_dump?resource=dynamic_route_configs")
    (table,) = (one["route_config"] for one in dumped["configs"])
    assert table["name"] == "9080"
    domains = {domain for host in table["virtual_hosts"] for domain in host["domains"]}
    assert {"reviews", "reviews:9080", "details", "details:9080", "*"} <= domains


async def test_a_new_port_is_listened_on_while_envoy_runs(
    sidecar: Any, folder: Any, client: Any, until: Any
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


async def test_callers_come_in_through_the_envoy_of_the_workload(
    sidecar: Any, folder: Any, until: Any, upstreams: Any, call_at: Any
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
