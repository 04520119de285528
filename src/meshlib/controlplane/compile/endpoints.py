"""Workloads → ClusterLoadAssignments."""

from collections.abc import Iterable, Iterator

from ... import model
from ..manifests.common import is_ip
from .services import MeshPort, MeshService, Workload


def load_assignment(
    name: str, service: MeshService, port: MeshPort, labels: dict[str, str]
) -> model.ClusterLoadAssignment:
    """The workloads that carry the labels, grouped and weighted by locality as in Istio."""
    groups: dict[model.Locality, list[model.Endpoint]] = {}
    for workload in usable(service, port):
        if labels.items() <= workload.labels.items():
            place = locality(workload.entry.locality)
            groups.setdefault(place, []).append(_endpoint(workload, port))
    return model.ClusterLoadAssignment(
        cluster_name=name,
        endpoints=tuple(_group(place, groups[place]) for place in sorted(groups)),
    )


def usable(service: MeshService, port: MeshPort) -> Iterator[Workload]:
    """Those with an address that can be called: DNS names only where names are resolved."""
    for workload in service.workloads:
        address = workload.entry.address
        if address and (service.resolution != "STATIC" or is_ip(address)):
            yield workload


def locality(text: str) -> model.Locality:
    """``region/zone/subzone``; what is missing is empty."""
    region, zone, sub_zone = (*text.split("/", 2), "", "")[:3]
    return model.Locality(region, zone, sub_zone)


def target_port(workload: Workload, port: MeshPort) -> int:
    """The workload's own map speaks first, then the service's target, then the port itself."""
    ports = workload.entry.ports
    for name in (port.target, port.name):
        if isinstance(name, str) and name in ports:
            return ports[name]
    return port.target if isinstance(port.target, int) else port.number


def _endpoint(workload: Workload, port: MeshPort) -> model.Endpoint:
    return model.Endpoint(
        address=model.Address(workload.entry.address, target_port(workload, port)),
        load_balancing_weight=workload.entry.weight or 1,
        metadata=model.sourced(workload.manifest.place_of(*workload.path)),
    )


def _group(place: model.Locality, endpoints: Iterable[model.Endpoint]) -> model.LocalityLbEndpoints:
    members = tuple(endpoints)
    return model.LocalityLbEndpoints(
        locality=place,
        lb_endpoints=members,
        load_balancing_weight=sum(endpoint.load_balancing_weight for endpoint in members),
    )
