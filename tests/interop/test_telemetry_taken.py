"""The rules of examples/telemetry, taken by those who have no part in them, too."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import meshlib
from meshlib.controlplane import Scope, compile_snapshot, load_documents
from meshlib.controlplane.node import ClientKind
from meshlib.controlplane.profiles import adapt
from meshlib.controlplane.scope import Sidecar
from meshlib.xds.codec import encode_json

pytestmark = pytest.mark.interop
HERE = Path(__file__).parent
RULES = HERE.parents[1] / "examples/telemetry/rules.yaml"
SIDECAR = Sidecar("127.0.0.1", "127.0.0.2")
REVIEWS = [
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "reviews"},
        "spec": {"selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 9080}]},
    },
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {"name": "reviews"},
        "spec": {"address": "127.0.0.2", "labels": {"app": "reviews"}},
    },
]


def static(resource: Any) -> dict[str, Any]:
    made = encode_json(resource)
    made.pop("@type")
    return made


async def test_envoy_takes_them_for_calls_in_and_out(envoy: Path, tmp_path: Path) -> None:
    world = load_documents([*REVIEWS, *yaml.safe_load_all(RULES.read_text())])
    scope = Scope("default", (("app", "reviews"),), sidecar=SIDECAR)
    snapshot = adapt(compile_snapshot(world, scope), ClientKind.ENVOY, lambda _: None)
    listeners = [static(one) for one in snapshot.listeners.values()]
    assert sum("reviews" in json.dumps(one) for one in listeners) >= 1
    assert any("/dev/stdout" in json.dumps(one) for one in listeners)
    resources = {"clusters": [static(one) for one in snapshot.clusters.values()]}
    config = tmp_path / "envoy.json"
    told = {"node": {"id": "n", "cluster": "k"}, "static_resources": resources}
    for listener in listeners:
        resources["listeners"] = [inlined(listener, snapshot)]
        config.write_text(json.dumps(told))
        checking = await asyncio.create_subprocess_exec(
            *(str(envoy), "--mode", "validate", "-c", str(config), "-l", "error"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await checking.communicate()
        assert checking.returncode == 0, errors.decode()[-2000:]


def inlined(listener: dict[str, Any], snapshot: Any) -> dict[str, Any]:
    """With its routes in place, where no control plane is there to be asked for them."""
    for chain in listener.get("filter_chains", ()):
        for one in chain["filters"]:
            manager = one["typed_config"]
            if rds := manager.pop("rds", None):
                manager["route_config"] = static(snapshot.routes[rds["route_config_name"]])
    return listener


async def test_grpcio_and_members_call_under_them(
    folder: Any, plane: Any, members: Any, until: Any
) -> None:
    before = (await plane.status())["version"]
    folder.write("telemetry.yaml", RULES.read_text())

    async def is_in_force() -> bool:
        return (await plane.status())["version"] != before

    bootstrap = {
        "xds_servers": [{"server_uri": plane.address, "channel_creds": [{"type": "insecure"}]}],
        "node": {"id": "stock", "metadata": {"NAMESPACE": "default"}},
    }
    stock = await asyncio.create_subprocess_exec(
        *(sys.executable, str(HERE / "stock_client.py"), "sync", "xds:///reviews:9080"),
        env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    await until(is_in_force)
    heard, _ = await stock.communicate(b"1\n")
    assert "UNIMPLEMENTED" in heard.decode()  # it came to the server, which knows other calls
    async with meshlib.Mesh("stranger", control_plane=plane.address) as mesh:
        for member in members.values():
            async with member(mesh) as call:
                assert await call() in ("v1", "v2")
        told = await plane.status()
    assert told["nacks"] == []
    assert told["errors"] == []
