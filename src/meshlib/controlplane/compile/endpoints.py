"""Workloads → ClusterLoadAssignments."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ... import model
from ..manifests.common import is_ip
from .localities import Group, Member, topology
from .services import MeshPort, MeshService, Workload

MOST = 2**32 - 1


def load_assignment(
    name: str,
    service: MeshService,
    port: MeshPort,
    labels: dict[str, str],
    told: Callable[[Workload, int], model.Metadata],
    arrange: Callable[[Sequence[Group]], Sequence[Group]],
) -> model.ClusterLoadAssignment:
    """The workloads that carry the labels, grouped by locality and arranged for the caller.

    Of several with one address the first counts: clients refuse an address that comes twice.
    ``told`` is what callers are told of a workload at a port of its own.
    """
    places: dict[model.Locality, list[Member]] = {}
    seen: set[model.Address] = set()
    for workload in usable(service, port):
        known, endpoint = labels_of(workload), _endpoint(workload, port, told)
        if labels.items() <= known.items() and endpoint.address not in seen:
            seen.add(endpoint.address)
            place = locality(workload.entry.locality)
            places.setdefault(place, []).append(Member(endpoint, known))
    groups = _addable([_group(place, places[place]) for place in sorted(places)])
    return model.ClusterLoadAssignment(
        cluster_name=name, endpoints=tuple(_endpoints(group) for group in arrange(groups))
    )


def usable(service: MeshService, port: MeshPort) -> Iterator[Workload]:
    """Those with an address that can be called: DNS names only where names are resolved."""
    for workload in service.workloads:
        address = workload.entry.address
        if address and (service.resolution != "STATIC" or is_ip(address)):
            yield workload


def labels_of(workload: Workload) -> dict[str, str]:
    """Its own, and those that say where it stands."""
    place = locality(workload.entry.locality)
    return topology(place, workload.entry.network) | workload.labels


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


def _endpoint(
    workload: Workload, port: MeshPort, told: Callable[[Workload, int], model.Metadata]
) -> model.Endpoint:
    number = target_port(workload, port)
    return model.Endpoint(
        address=model.Address(workload.entry.address, number),
        load_balancing_weight=workload.entry.weight or 1,
        metadata=told(workload, number),
    )


def _group(place: model.Locality, members: Sequence[Member]) -> Group:
    weight = sum(member.endpoint.load_balancing_weight for member in members)
    return Group(place, tuple(members), weight)


def _addable(groups: list[Group]) -> list[Group]:
    """Weights that sum to more than clients take are made smaller, all by the same factor."""
    total = sum(group.weight for group in groups)
    if total <= MOST:
        return groups
    return [
        _group(group.locality, [_lighter(member, total) for member in group.members])
        for group in groups
    ]


def _lighter(member: Member, total: int) -> Member:
    endpoint = member.endpoint
    weight = max(1, endpoint.load_balancing_weight * MOST // total)
    return replace(member, endpoint=replace(endpoint, load_balancing_weight=weight))


def _endpoints(group: Group) -> model.LocalityLbEndpoints:
    return model.LocalityLbEndpoints(
        locality=group.locality,
        lb_endpoints=tuple(member.endpoint for member in group.members),
        load_balancing_weight=group.weight,
        priority=group.priority,
    )
