"""What the examples and the compiler's tests hold, shown to each stock client of xDS."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshlib import model
from meshlib.controlplane import ControlPlane, Scope, compile_snapshot
from meshlib.controlplane.compile.names import host_forms
from meshlib.controlplane.compile.view import View
from meshlib.controlplane.manifests import load_documents
from meshlib.controlplane.node import ClientKind
from meshlib.controlplane.profiles import adapt
from meshlib.controlplane.scope import Sidecar

pytestmark = pytest.mark.interop
ROOT = Path(__file__).parents[4]
SERVICES = ROOT / "examples/bookinfo/mesh/services.yaml"
KINDS = {
    "go": ClientKind.GRPC_GO,
    "js": ClientKind.GRPC_NODE,
    "sync": ClientKind.GRPC,
    "aio": ClientKind.GRPC,
}
REFUSED = "lost_destinations.in.yaml"
"""It names hosts that do not exist: nobody is ever served it."""

Documents = list[dict[str, Any]]


def documents(path: Path) -> Documents:
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def has_hosts(manifests: Documents) -> bool:
    return any(one["kind"] in {"Service", "ServiceEntry"} for one in manifests)


def written_down() -> Iterator[tuple[str, Documents]]:
    """Every file of manifests, with the services of its example, or with those of another."""
    for path in sorted(ROOT.glob("tests/golden/compile/*.in.yaml")):
        if path.name != REFUSED:
            yield f"golden {path.name}", documents(path)
    bare = [one for one in documents(SERVICES) if one["kind"] == "Service"]
    for example in sorted(path for path in ROOT.glob("examples/*") if path.is_dir()):
        files = {path: documents(path) for path in sorted(example.rglob("*.yaml"))}
        hosts = [path for path in files if has_hosts(files[path])]
        base = [one for path in hosts for one in files[path]] or bare
        for path, manifests in files.items():
            case = f"{example.name} {path.relative_to(example)}"
            yield case, base if path in hosts else [*base, *manifests]


CASES = dict(written_down())


def test_every_example_is_judged() -> None:
    folders = {path.parent for path in ROOT.glob("examples/*/*.py")}
    assert {folder.name for folder in folders} <= {case.partition(" ")[0] for case in CASES}


def targets(manifests: Documents, scope: Scope) -> set[str]:
    return {
        f"{next(host_forms(service.host, scope.namespace))}:{port.number}"
        for service in View(load_documents(manifests), scope).services.values()
        for port in service.ports
        if not service.is_wildcard
    }


def led_to(
    snapshot: model.Snapshot, listeners: set[str], *, is_envoy: bool = False
) -> dict[str, Any]:
    """By type, all that a client has to ask for who begins with these listeners."""
    found = (snapshot.listeners[name].route_config_name for name in listeners)
    tables = {name for name in found if name is not None}
    routes = [snapshot.routes[name] for name in tables]
    clusters = {name for table in routes for _, name in model.referenced_clusters(table)}
    clusters = set(snapshot.clusters) if is_envoy else clusters
    held = (snapshot.clusters[name].load_assignment_name for name in clusters)
    endpoints = {name for name in held if name is not None}
    wanted = {
        "lds": "*" if is_envoy else sorted(listeners),
        "rds": sorted(tables),
        "cds": "*" if is_envoy else sorted(clusters),
        "eds": sorted(endpoints),
    }
    return {kind: names for kind, names in wanted.items() if names}


class Judges:
    """What each of them must have accepted in the end, and what it has."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self.wanted: dict[str, dict[str, Any]] = {}

    async def are_content(self) -> bool:
        status = self._plane.status
        assert status["nacks"] == []
        self.found = {name: self._accepted(name) for name in self.wanted}
        return self.found == self.wanted

    def _accepted(self, name: str) -> dict[str, Any]:
        """A gRPC client may have a stream for each of its targets.

        Secrets are not looked at: a control plane without a CA has none to give, and what is on
        trial here is what names them (with a CA: ``test_envoy_mtls_sds.py``).
        """
        found: dict[str, Any] = {}
        for client in self._plane.status["clients"]:
            if client["id"] != name:
                continue
            for kind, told in client["types"].items():
                if kind == "sds":
                    continue
                if told["state"] != "ACK":
                    return {"not yet": kind}
                names = told["subscribed"]
                if names != "*":
                    names = sorted({*found.get(kind, ()), *names})
                found[kind] = names
        return {kind: names for kind, names in found.items() if names}


@pytest.mark.parametrize("case", CASES)
async def test_each_client_accepts_all_of_it(
    case: str, connect: Any, spawn_envoy: Any, until: Any
) -> None:
    manifests = CASES[case]
    async with ControlPlane(config=manifests, listen="127.0.0.1:0") as plane:
        judges = Judges(plane)
        world = load_documents(manifests)
        for kind in ("GRPC", "DELTA_GRPC"):
            envoy = spawn_envoy(plane.address, kind)
            scope = Scope(
                labels=tuple(envoy.labels.items()), sidecar=Sidecar(envoy.address, envoy.inbound)
            )
            snapshot = adapt(compile_snapshot(world, scope), ClientKind.ENVOY, lambda _: None)
            judges.wanted[envoy.name] = led_to(snapshot, set(snapshot.listeners), is_envoy=True)
        called = targets(manifests, Scope())
        made = await asyncio.gather(*(connect(name, plane.address) for name in KINDS))
        for (name, kind), client in zip(KINDS.items(), made, strict=True):
            snapshot = adapt(compile_snapshot(world, Scope()), kind, lambda _: None)
            judges.wanted[f"{name}-client"] = led_to(snapshot, called)
            for target in called:
                assert await client.ask(f"xds:///{target}") == {}
        with suppress(TimeoutError):
            await until(judges.are_content)
        assert judges.found == judges.wanted
