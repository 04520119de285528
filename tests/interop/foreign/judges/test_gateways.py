"""A real Envoy at the edge, whose listeners a Gateway says."""

from typing import Any

import pytest

pytestmark = pytest.mark.interop
FRONT = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingress}
  servers:
    - {port: {number: PORT, name: http, protocol: HTTP}, hosts: ["reviews.example"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: [reviews.example]
  gateways: [front]
  http: [{route: [{destination: {host: reviews, subset: SUBSET}}]}]
"""


@pytest.mark.parametrize("kind", ["GRPC", "DELTA_GRPC"])
async def test_calls_come_in_by_the_port_and_host_of_a_gateway(
    kind: str, folder: Any, plane: Any, start_envoy: Any, call_at: Any, until: Any
) -> None:
    def write(port: int, subset: str) -> None:
        folder.write("front.yaml", FRONT.replace("PORT", str(port)).replace("SUBSET", subset))

    write(8080, "v1")
    edge = await start_envoy(plane.address, kind, labels={"istio": "ingress"})

    async def listens(port: int) -> bool:
        return list((await edge.listeners()).values()) == [f"{edge.address}:{port}"]

    await until(lambda: listens(8080))
    caller = await call_at(f"{edge.address}:8080", "reviews.example")
    assert await caller.ask(200) == {"v1": 200}
    write(8080, "v2")
    assert await caller.until("v2") <= {"v1"}
    write(8081, "v2")
    await until(lambda: listens(8081))
    elsewhere = await call_at(f"{edge.address}:8081", "reviews.example")
    assert await elsewhere.ask(200) == {"v2": 200}
    stranger = await call_at(f"{edge.address}:8081", "reviews")
    assert list(await stranger.ask(1)) != ["v2"]
    assert (await plane.status())["nacks"] == []
    assert not any((await edge.counts("update_rejected")).values())
