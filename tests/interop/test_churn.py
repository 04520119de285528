"""Edit after edit under load: no call fails, and all that is said on the wire is lawful.

``MESHLIB_CHURN=1000`` makes as many edits, about 30 calls to each. At full size, 1,000 edits in a
minute at 500 calls a second and the control plane in a process of its own, it is measured by
``make bench ARGS="--only churn"``.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

import meshlib
from meshlib.controlplane import ControlPlane
from meshlib.mesh import remote
from meshlib.testing.ads_law import AdsLaw
from meshlib.xds.client import XdsClient

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

EDITS = int(os.environ.get("MESHLIB_CHURN", "60"))
CALLS_PER_EDIT = 10
"""Of each kind of member, before the next edit."""
PORTS = {"reviews": "grpc", "details": "http"}
NETWORKING = "networking.istio.io/v1"


def manifests(edit: int, ports: dict[tuple[str, str], int]) -> list[dict[str, Any]]:
    """Of every kind of change a share: weights, routes, subsets, endpoints, whole services."""
    made: list[dict[str, Any]] = []
    for name in PORTS:
        made += [
            service(name),
            {
                "apiVersion": NETWORKING,
                "kind": "DestinationRule",
                **named(name),
                "spec": rule(edit, name),
            },
            {
                "apiVersion": NETWORKING,
                "kind": "VirtualService",
                **named(name),
                "spec": routes(edit, name),
            },
        ]
    made += [workload(name, version, port) for (name, version), port in ports.items()]
    if edit % 4 == 1:  # one endpoint more
        made += [workload(name, v, port, "more") for (name, v), port in ports.items() if v == "v1"]
    made += [service(f"extra-{index}") for index in range(edit % 3)]
    return made


def named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def service(name: str) -> dict[str, Any]:
    port = {"name": PORTS.get(name, "http"), "port": 9080}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        **named(name),
        "spec": {"selector": {"app": name}, "ports": [port]},
    }


def workload(name: str, version: str, port: int, which: str = "one") -> dict[str, Any]:
    spec = {
        "address": "127.0.0.1",
        "ports": {PORTS[name]: port},
        "labels": {"app": name, "version": version},
    }
    return {
        "apiVersion": NETWORKING,
        "kind": "WorkloadEntry",
        **named(f"{name}-{version}-{which}"),
        "spec": spec,
    }


def rule(edit: int, name: str) -> dict[str, Any]:
    subsets = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]
    if edit % 5 == 0:
        subsets.append({"name": f"canary-{edit}", "labels": {"version": "v2"}})
    balancer = "ROUND_ROBIN" if edit % 2 else "LEAST_REQUEST"
    return {
        "host": name,
        "subsets": subsets,
        "trafficPolicy": {"loadBalancer": {"simple": balancer}},
    }


def routes(edit: int, name: str) -> dict[str, Any]:
    weight = edit * 7 % 101
    second = f"canary-{edit}" if edit % 5 == 0 else "v2"
    split = [
        {"destination": {"host": name, "subset": "v1"}, "weight": weight},
        {"destination": {"host": name, "subset": second}, "weight": 100 - weight},
    ]
    return {"hosts": [name], "http": [{"name": f"edit-{edit}", "route": split}]}


@pytest.fixture
async def served(upstreams: Any) -> AsyncIterator[tuple[ControlPlane, AdsLaw]]:
    law = AdsLaw()
    config = manifests(0, upstreams)
    async with ControlPlane(config=config, listen="127.0.0.1:0", wire=law) as plane:
        yield plane, law


def member_of(plane: ControlPlane, encoding: str) -> meshlib.Mesh:
    server = {
        "server_uri": plane.address,
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["delta"] if encoding == "delta" else [],
    }
    return meshlib.Mesh(
        "productpage", bootstrap={"xds_servers": [server], "node": {"id": encoding}}
    )


@pytest.fixture
def client_law(monkeypatch: pytest.MonkeyPatch) -> AdsLaw:
    """What every mesh of this test says is judged where it is said, too."""
    law = AdsLaw()
    monkeypatch.setattr(remote, "XdsClient", partial(XdsClient, wire=law))
    return law


@pytest.mark.parametrize("encoding", ["sotw", "delta"])
async def test_no_call_fails_through_edit_after_edit_and_the_wire_is_lawful(
    encoding: str,
    served: Any,
    client_law: AdsLaw,
    upstreams: Any,
    members: Any,
    load: Any,
    until: Any,
) -> None:
    plane, law = served
    async with member_of(plane, encoding) as mesh, AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(member(mesh)) for member in members.values()]
        loads = [await stack.enter_async_context(load(call, 2)) for call in calls]
        for edit in range(1, EDITS + 1):
            await plane.apply(manifests(edit, upstreams))
            for each in loads:
                await each.more(CALLS_PER_EDIT)
        await until(lambda: is_told(mesh, f"edit-{EDITS}"))  # those on each other's heels together
        await until(lambda: settled(law, plane))
    assert [error for each in loads for error in each.failed] == []
    assert sum(len(each.answers) for each in loads) >= EDITS * CALLS_PER_EDIT * len(loads)
    assert law.violations == client_law.violations == []
    assert len(client_law.answers) == client_law.responses == law.responses
    assert all(acked for _, _, acked in law.answers)
    assert len(law.answers) == law.responses


async def is_told(mesh: meshlib.Mesh, name: str) -> bool:
    return mesh.route("POST", "grpc://reviews:9080/any.Service/Method").route == name


async def settled(law: AdsLaw, plane: ControlPlane) -> bool:
    states = [t["state"] for c in plane.status["clients"] for t in c["types"].values()]
    return not law.unanswered() and set(states) == {"ACK"}
