"""Workloads: which can be called at all."""

from collections.abc import Iterator
from typing import Any

from ..compile.services import registry
from ..manifests.common import WorkloadEntry, is_ip
from ..manifests.finding import NOT_ACTED_ON, UNUSABLE_ENDPOINT, Finding
from ..manifests.manifest import Manifest
from ..world import World


def check(world: World) -> Iterator[Finding]:
    for manifest in world.workload_entries:
        yield from _entry(manifest.spec, manifest, "network")
    for entry in world.service_entries:
        for index, endpoint in enumerate(entry.spec.endpoints):
            yield from _entry(endpoint, entry, "endpoints", index)
    yield from _names_where_addresses_belong(world)


def _entry(entry: WorkloadEntry, manifest: Manifest[Any], *path: str | int) -> Iterator[Finding]:
    if not entry.address:
        said = f"is in network {entry.network!r} without an address: it cannot be called"
        yield Finding(UNUSABLE_ENDPOINT, "warning", manifest.place_of(*path), str(manifest), said)
    elif entry.network:
        said = "network is not acted on: every address is called directly"
        yield Finding(NOT_ACTED_ON, "info", manifest.place_of(*path), str(manifest), said)


def _names_where_addresses_belong(world: World) -> Iterator[Finding]:
    """EDS carries addresses; a name in a selected WorkloadEntry is left out."""
    for service in registry(world):
        if service.resolution != "STATIC":
            continue
        for workload in service.workloads:
            address = workload.entry.address
            if address and not is_ip(address):
                yield Finding(
                    UNUSABLE_ENDPOINT,
                    "warning",
                    workload.manifest.place_of(*workload.path, "address"),
                    str(workload.manifest),
                    f"{address!r} is no IP address: {service.host} leaves it out",
                    "use a ServiceEntry with resolution: DNS and a workloadSelector",
                )
