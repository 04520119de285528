"""Hosts: who speaks for them, and who is not heard."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ..compile.names import SERVICE_DOMAIN, HostIndex, full_host, is_exported
from ..compile.services import MeshService, registry
from ..manifests.finding import (
    FOREIGN_HOST,
    HOST_CONFLICT,
    NOT_ACTED_ON,
    OUTSIDE,
    SHADOWED_HOST,
    UNKNOWN_HOST,
    Finding,
)
from ..manifests.manifest import Manifest
from ..manifests.virtual_service import VirtualService
from ..world import World

Claim = tuple[Manifest[VirtualService], int]


def check(world: World) -> Iterator[Finding]:
    yield from _conflicts(world)
    yield from _foreign(world)
    yield from _outside(world)
    yield from _hosts_that_nobody_serves(world)
    yield from _shadowed(world)


def _outside(world: World) -> Iterator[Finding]:
    """Istio's default where a ServiceEntry says nothing, which few mean for their own hosts."""
    for manifest in world.service_entries:
        if manifest.spec.location != "MESH_EXTERNAL":
            continue
        for index, host in enumerate(manifest.spec.hosts):
            if host.endswith(f".{SERVICE_DOMAIN}"):
                yield Finding(
                    OUTSIDE,
                    "info",
                    manifest.place_of("hosts", index),
                    str(manifest),
                    f"{host} is outside of the mesh: neither baggage nor who calls is told to it",
                    "say location: MESH_INTERNAL if it is one of yours",
                )


def _conflicts(world: World) -> Iterator[Finding]:
    """A sidecar takes one VirtualService a host: Istio merges them for gateways only."""
    claims: dict[str, list[Claim]] = defaultdict(list)
    for manifest in world.virtual_services:
        if not manifest.spec.is_for_mesh:
            continue
        for index, name in enumerate(manifest.spec.hosts):
            host = full_host(name, manifest.namespace)
            for other, _ in claims[host]:
                if _seen_together(manifest, other):
                    yield Finding(
                        HOST_CONFLICT,
                        "error",
                        manifest.place_of("hosts", index),
                        str(manifest),
                        f"host {host} has a VirtualService already: "
                        f"{other.namespace}/{other.name} at {other.place}",
                        "put the rules of one host into one VirtualService",
                    )
                    break
            claims[host].append((manifest, index))


def _seen_together(one: Manifest[VirtualService], other: Manifest[VirtualService]) -> bool:
    mine = _audience(one.spec.export_to, one.namespace)
    theirs = _audience(other.spec.export_to, other.namespace)
    if "*" in mine:
        return bool(theirs)
    return bool(mine) if "*" in theirs else bool(mine & theirs)


def _audience(export_to: Sequence[str], home: str) -> frozenset[str]:
    if not export_to:
        return frozenset("*")
    return frozenset(home if name == "." else name for name in export_to if name != "~")


def _foreign(world: World) -> Iterator[Finding]:
    """Rules for a host are of its own namespace, and of those that it is exported to."""
    by_host: dict[str, list[MeshService]] = defaultdict(list)
    for service in registry(world):
        by_host[service.host].append(service)
    default = world.mesh_config.default_service_export_to
    for manifest in world.virtual_services:
        for index, name in enumerate(manifest.spec.hosts):
            host = full_host(name, manifest.namespace)
            owners = by_host.get(host, ())
            if owners and not any(
                is_exported(one.export_to or default, one.namespace, manifest.namespace)
                for one in owners
            ):
                yield Finding(
                    FOREIGN_HOST,
                    "error",
                    manifest.place_of("hosts", index),
                    str(manifest),
                    f"host {host} is of namespace {owners[0].namespace}, and is not exported to "
                    f"{manifest.namespace}",
                )


def _hosts_that_nobody_serves(world: World) -> Iterator[Finding]:
    known = HostIndex((service.host, service) for service in registry(world))
    for manifest in world.virtual_services:
        if not manifest.spec.is_for_mesh:
            yield Finding(
                NOT_ACTED_ON,
                "info",
                manifest.place_of("gateways"),
                str(manifest),
                "is for gateways only: it has no effect on calls within the mesh",
            )
            continue
        for index, name in enumerate(manifest.spec.hosts):
            host = full_host(name, manifest.namespace)
            if next(known.below(host), None) is None:
                yield Finding(
                    UNKNOWN_HOST,
                    "warning",
                    manifest.place_of("hosts", index),
                    str(manifest),
                    f"host {host} is no service: its rules hold on port 80 only",
                )


def _shadowed(world: World) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for service in registry(world):
        resource = str(service.manifest)
        if service.is_wildcard:
            yield Finding(
                NOT_ACTED_ON,
                "info",
                service.manifest.place_of("hosts"),
                resource,
                f"wildcard host {service.host} is known where manifests are compiled in process: "
                "over xDS nobody can ask for it by name",
            )
        winner = first.setdefault(service.host, resource)
        if winner != resource:
            yield Finding(
                SHADOWED_HOST,
                "warning",
                service.manifest.place,
                resource,
                f"host {service.host} belongs to {winner} already; who sees both uses one of them",
            )
