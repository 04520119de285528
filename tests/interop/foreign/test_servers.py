"""gRPC servers of others whose listeners come from our control plane (gRFC A36)."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.interop
SERVER = Path(__file__).with_name("stock_server.py")
TEMPLATES = {
    "istio": "xds.istio.io/grpc/lds/inbound/%s",
    "query": "grpc/server?xds.resource.listening_address=%s",
}


@pytest.fixture
def address(free_port: Callable[[], int]) -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(params=["go", "grpcio"])
def command(request: pytest.FixtureRequest) -> list[object]:
    if request.param == "grpcio":
        return [sys.executable, SERVER]
    return [request.getfixturevalue("go_judges") / "server", "xds"]


@pytest.fixture(params=TEMPLATES)
def template(request: pytest.FixtureRequest) -> str:
    return TEMPLATES[request.param]


@pytest.fixture
async def caller(
    start: Any,
    bootstrap: Any,
    plane: Any,
    call_at: Any,
    until: Any,
    command: Any,
    address: str,
    template: str,
) -> Any:
    """Calls the server, which serves by now."""
    env = bootstrap("server", plane.address, template)
    server = await start(*command, address, "here", env=env)
    assert await server.hear() == {"address": address}
    if command[-1] == "xds":
        assert await server.hear() == {"mode": "SERVING"}
    client = await call_at(address)

    async def is_served() -> bool:
        return "here" in await client.ask(1)

    await until(is_served)
    return client


async def test_a_server_serves_on_the_listener_that_it_asks_for(
    caller: Any, plane: Any, until: Any, address: str, template: str
) -> None:
    async def is_accepted() -> bool:
        status = await plane.status()
        assert status["nacks"] == []
        (server,) = status["clients"]
        listeners = server["types"]["lds"]
        return listeners["state"] == "ACK" and listeners["subscribed"] == [template % address]

    await until(is_accepted)
    assert await caller.ask(50) == {"here": 50}


@pytest.mark.parametrize("template", ["istio"], indirect=True)
async def test_a_server_outlives_the_control_plane(caller: Any, plane: Any, folder: Any) -> None:
    plane.kill()
    assert await caller.ask(50) == {"here": 50}
    folder.split(0, 100)
    await plane.start()
    assert await caller.ask(50) == {"here": 50}


def policy(action: str, rule: str) -> str:
    return f"""\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: guard}}
spec: {{action: {action}, rules: [{rule}]}}
"""


@pytest.mark.parametrize("template", ["istio"], indirect=True)
async def test_a_server_obeys_the_policies_of_the_mesh(
    caller: Any, folder: Any, until: Any
) -> None:
    async def is_denied() -> bool:
        answers = await caller.ask(1)
        return all("PermissionDenied" in answer for answer in answers)

    async def is_served() -> bool:
        return await caller.ask(1) == {"here": 1}

    folder.write("policy.yaml", policy("ALLOW", "{to: [{operation: {paths: [/test.Who/Other]}}]}"))
    await until(is_denied)
    folder.write("policy.yaml", policy("ALLOW", "{to: [{operation: {paths: [/test.Who/*]}}]}"))
    await until(is_served)
    folder.write("policy.yaml", policy("DENY", "{to: [{operation: {methods: [POST]}}]}"))
    await until(is_denied)
    folder.write("policy.yaml", policy("DENY", "{from: [{source: {principals: ['*']}}]}"))
    await until(is_served)
    folder.write("policy.yaml", policy("ALLOW", "{from: [{source: {requestPrincipals: ['*']}}]}"))
    await until(is_denied)
