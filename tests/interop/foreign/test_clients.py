"""grpc-go and grpc-js as clients of our control plane: judges that share no code with grpcio."""

from typing import Any

import pytest

pytestmark = pytest.mark.interop
TYPES = ("lds", "rds", "cds", "eds")


@pytest.fixture(params=["go", "js"])
async def client(request: pytest.FixtureRequest, plane: Any, connect: Any) -> Any:
    return await connect(request.param, plane.address)


async def in_sync(plane: Any) -> bool:
    status = await plane.status()
    assert status["nacks"] == []
    (client,) = status["clients"]
    states = {name: each["state"] for name, each in client["types"].items()}
    return states == dict.fromkeys(TYPES, "ACK")


async def test_calls_are_split_as_configured_and_every_resource_is_accepted(
    client: Any, plane: Any, until: Any
) -> None:
    answers = await client.ask(2500)
    assert answers.keys() == {"v1", "v2"}
    assert answers["v1"] == pytest.approx(1250, abs=125)
    await until(lambda: in_sync(plane))


async def test_an_edit_is_followed_without_a_failed_call(
    client: Any, plane: Any, folder: Any, until: Any
) -> None:
    await client.ask(20)
    folder.split(0, 100)
    assert await client.until("v2") <= {"v1"}
    await until(lambda: in_sync(plane))


async def test_a_bad_edit_changes_nothing(client: Any, plane: Any, folder: Any) -> None:
    folder.split(100, 0)
    await client.until("v1")
    folder.write("routes.yaml", "kind: VirtualService\nspec: {hosts: [")
    assert "routes.yaml:" in await plane.refuses()
    assert await client.ask(200) == {"v1": 200}


async def test_a_control_plane_may_go_and_come_back(client: Any, plane: Any, folder: Any) -> None:
    await client.ask(20)
    plane.kill()
    assert (await client.ask(200)).keys() == {"v1", "v2"}
    folder.split(0, 100)
    await plane.start()
    assert await client.until("v2") <= {"v1"}


POLICIES = (
    "{loadBalancer: {simple: LEAST_REQUEST}}",
    "{loadBalancer: {simple: RANDOM}}",
    "{loadBalancer: {consistentHash: {httpHeaderName: x}}}",
    "{outlierDetection: {consecutive5xxErrors: 3}}",
    "{connectionPool: {http: {http2MaxRequests: 10}}}",
)
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: policy}
spec: {host: reviews, trafficPolicy: POLICY}
"""


@pytest.mark.parametrize("kind", ["go", "js"])
@pytest.mark.parametrize("policy", POLICIES)
async def test_a_policy_that_a_client_lacks_does_not_stop_calls(
    folder: Any, plane: Any, connect: Any, until: Any, kind: str, policy: str
) -> None:
    folder.write("policy.yaml", RULE.replace("POLICY", policy))
    client = await connect(kind, plane.address)
    assert (await client.ask(50)).keys() <= {"v1", "v2"}
    await until(lambda: in_sync(plane))
