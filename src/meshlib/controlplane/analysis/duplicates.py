"""Workloads of one service at one address: clients refuse an address that comes twice."""

from collections.abc import Iterator

from ..compile.endpoints import target_port, usable
from ..compile.services import MeshService, Workload, registry
from ..manifests.finding import UNUSABLE_ENDPOINT, Finding
from ..world import World


def check(world: World) -> Iterator[Finding]:
    for service in registry(world):
        yield from _twice(service)


def _twice(service: MeshService) -> Iterator[Finding]:
    told: set[int] = set()
    for port in service.ports:
        first: dict[tuple[str, int], Workload] = {}
        for workload in usable(service, port):
            place = workload.entry.address, target_port(workload, port)
            known = first.setdefault(place, workload)
            if known is not workload and id(workload) not in told:
                told.add(id(workload))
                yield _finding(service, workload, known, f"{place[0]}:{place[1]}")


def _finding(service: MeshService, workload: Workload, known: Workload, address: str) -> Finding:
    where = known.manifest.place_of(*known.path)
    return Finding(
        UNUSABLE_ENDPOINT,
        "warning",
        workload.manifest.place_of(*workload.path, "address"),
        str(workload.manifest),
        f"{address} is an endpoint of {service.host} already: "
        f"of several at one address the first counts ({known.manifest} at {where})",
    )
