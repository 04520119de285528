"""grpcio's own xDS client, sync and aio, runs on our control plane: a judge with other taste."""

import asyncio
import json
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from meshlib.controlplane import ControlPlane

pytestmark = pytest.mark.interop
CLIENT = Path(__file__).with_name("stock_client.py")

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: who}
spec:
  selector: {app: who}
  ports: [{name: grpc, port: 9080}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: who-v1}
spec: {address: 127.0.0.1, ports: {grpc: PORT_V1}, labels: {app: who, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: who-v2}
spec: {address: 127.0.0.1, ports: {grpc: PORT_V2}, labels: {app: who, version: v2}}
"""
RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: who}
spec:
  host: who
  trafficPolicy: TRAFFIC_POLICY
  subsets: SUBSETS
"""
SUBSETS = "[{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]"
ROUTES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: who}
spec:
  hosts: [who]
  http:
    - route:
        - {destination: {host: who, subset: SUBSET_1}, weight: WEIGHT_1}
        - {destination: {host: who, subset: SUBSET_2}, weight: WEIGHT_2}
"""
FAULT = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: who}
spec:
  hosts: [who]
  http:
    - fault: {abort: {grpcStatus: FAILED_PRECONDITION, percentage: {value: 100}}}
      route: [{destination: {host: who}}]
"""
DNS = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: who}
spec:
  hosts: [who.example]
  ports: [{number: 9080, name: grpc, protocol: GRPC, targetPort: PORT_V1}]
  resolution: DNS
  endpoints: [{address: localhost}]
"""


def write(folder, name, text, **values):
    """As an editor does it: whole, by a rename."""
    for key, value in values.items():
        text = text.replace(key, str(value))
    staged = folder / f".{name}"
    staged.write_text(text)
    staged.rename(folder / name)


def write_routes(folder, v1, v2):
    write(folder, "routes.yaml", ROUTES, SUBSET_1="v1", WEIGHT_1=v1, SUBSET_2="v2", WEIGHT_2=v2)


def write_rule(folder, policy="{}", subsets=SUBSETS):
    write(folder, "rule.yaml", RULE, TRAFFIC_POLICY=policy, SUBSETS=subsets)


@pytest.fixture
def ports():
    """Two real servers that say which version they are."""
    servers = []

    def serve(version):
        server = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(lambda request, context: version.encode())
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("test.Who", {"Are": handler})]
        )
        servers.append(server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return port

    yield {f"PORT_{version.upper()}": serve(version) for version in ("v1", "v2")}
    for server in servers:
        server.stop(None).wait()


@pytest.fixture
def folder(tmp_path, ports):
    write(tmp_path, "service.yaml", SERVICE, **ports)
    write_rule(tmp_path)
    write_routes(tmp_path, 50, 50)
    return tmp_path


@pytest.fixture
async def plane(folder):
    async with ControlPlane(folder, listen="127.0.0.1:0") as made:
        yield made


class StockClient:
    def __init__(self, process):
        self._process = process

    async def calls(self, times):
        self._process.stdin.write(f"{times}\n".encode())
        return json.loads(await self._process.stdout.readline())

    async def until(self, wanted):
        """Call until only ``wanted`` answers; says whatever else answered on the way."""
        others = set()
        while set(answers := await self.calls(20)) != {wanted}:
            others |= answers.keys() - {wanted}
        return others


@pytest.fixture
async def connect():
    processes = []

    async def connected(style, address, target="xds:///who:9080"):
        server = {"server_uri": address, "channel_creds": [{"type": "insecure"}]}
        bootstrap = {
            "xds_servers": [{**server, "server_features": ["xds_v3"]}],
            "node": {"id": f"stock-{style}", "metadata": {"NAMESPACE": "default"}},
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(CLIENT),
            style,
            target,
            env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        processes.append(process)
        return StockClient(process)

    yield connected
    for process in processes:
        process.stdin.close()
        await process.wait()


@pytest.fixture(params=["sync", "aio"])
async def client(request, plane, connect):
    return await connect(request.param, plane.address)


@pytest.fixture
def connected():
    """Set once a client has come to the control plane."""
    event = asyncio.Event()
    handler = logging.Handler()
    handler.emit = lambda record: event.set() if "connected" in record.getMessage() else None
    log = logging.getLogger("meshlib.controlplane")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield event
    log.removeHandler(handler)
    log.setLevel(level)


def states(plane):
    return {
        kind: state["state"]
        for one in plane.status["clients"]
        for kind, state in one["types"].items()
    }


async def test_calls_are_split_as_configured_and_every_resource_is_accepted(client, plane):
    answers = await client.calls(400)
    assert set(answers) == {"v1", "v2"}
    assert 140 < answers["v1"] < 260
    assert plane.status["nacks"] == []
    assert states(plane) == dict.fromkeys(("lds", "rds", "cds", "eds"), "ACK")


async def test_an_edit_is_followed_without_a_failed_call(client, plane, folder):
    await client.calls(20)
    write_routes(folder, 0, 100)
    assert await client.until("v2") <= {"v1"}
    assert plane.status["nacks"] == []


async def test_renamed_subsets_are_followed_without_a_failed_call(client, plane, folder):
    write_routes(folder, 0, 100)
    await client.until("v2")
    # In one edit the cluster in use goes and another comes.
    write(folder, "routes.yaml", "")
    write(
        folder,
        "rule.yaml",
        f"{RULE}---\n{ROUTES}",
        TRAFFIC_POLICY="{}",
        SUBSETS="[{name: stable, labels: {version: v1}}]",
        SUBSET_1="stable",
        WEIGHT_1=100,
        SUBSET_2="stable",
        WEIGHT_2=0,
    )
    assert await client.until("v1") <= {"v2"}
    assert plane.status["nacks"] == []


async def test_a_bad_edit_changes_nothing_for_clients(client, plane, folder):
    write_routes(folder, 100, 0)
    await client.until("v1")
    write(folder, "routes.yaml", ROUTES, SUBSET_1="v9", WEIGHT_1="much", SUBSET_2="v2", WEIGHT_2=0)
    while not plane.errors:
        assert set(await client.calls(5)) == {"v1"}
    assert set(await client.calls(20)) == {"v1"}


@pytest.mark.parametrize(
    "policy",
    [
        "{loadBalancer: {simple: LEAST_REQUEST}}",
        "{loadBalancer: {simple: RANDOM}}",
        "{outlierDetection: {consecutive5xxErrors: 3}}",
        "{connectionPool: {http: {http2MaxRequests: 10}}}",
    ],
)
async def test_a_policy_that_grpcio_lacks_does_not_stop_calls(folder, connect, policy):
    write_rule(folder, policy)
    async with ControlPlane(folder, listen="127.0.0.1:0") as plane:
        client = await connect("sync", plane.address)
        assert set(await client.calls(50)) <= {"v1", "v2"}
        assert plane.status["nacks"] == []
        downgraded = [said for said in plane.status["downgrades"] if "RoundRobin" in said]
        assert bool(downgraded) == ("loadBalancer" in policy)


async def test_a_fault_is_injected_by_grpcio_itself(folder, connect):
    write(folder, "routes.yaml", FAULT)
    async with ControlPlane(folder, listen="127.0.0.1:0") as plane:
        client = await connect("sync", plane.address)
        (answer,) = await client.calls(5)
        assert "FAILED_PRECONDITION" in answer
        assert plane.status["nacks"] == []


async def test_a_service_behind_a_dns_name_is_called(tmp_path, ports, connect):
    write(tmp_path, "dns.yaml", DNS, **ports)
    async with ControlPlane(tmp_path, listen="127.0.0.1:0") as plane:
        client = await connect("sync", plane.address, "xds:///who.example:9080")
        assert await client.calls(20) == {"v1": 20}
        assert plane.status["nacks"] == []


async def test_a_call_to_a_service_that_appears_later_gets_through(
    tmp_path, ports, connect, connected
):
    async with ControlPlane(tmp_path, listen="127.0.0.1:0") as plane:
        client = await connect("sync", plane.address)
        waiting = asyncio.create_task(client.calls(1))
        await connected.wait()
        write(tmp_path, "service.yaml", SERVICE, **ports)
        assert set(await waiting) <= {"v1", "v2"}


async def test_a_control_plane_may_go_and_come_back(folder, connect):
    async with ControlPlane(folder, listen="127.0.0.1:0") as plane:
        client = await connect("sync", plane.address)
        await client.calls(20)
    assert set(await client.calls(20)) <= {"v1", "v2"}
    write_routes(folder, 0, 100)
    async with ControlPlane(folder, listen=plane.address):
        assert await client.until("v2") <= {"v1"}
