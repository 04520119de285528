"""What an Envoy beside a member of the mesh listens on: for the member's calls, and for callers."""

from collections.abc import Iterable, Iterator, Mapping

from ... import model
from ..scope import Sidecar
from .endpoints import target_port
from .filters import filters_for
from .guarding import Guard
from .inbound import inbound_to, is_mine
from .matches import ANY_PATH
from .services import MeshPort, MeshService
from .view import View

NOT_HTTP = frozenset({"HTTPS", "TCP", "TLS", "MONGO", "MYSQL", "REDIS", "UDP"})
WORKLOAD = "127.0.0.1"
"""Where the program beside an Envoy serves."""


def outbound_listeners(
    view: View, sidecar: Sidecar, tables: Mapping[str, model.RouteConfiguration]
) -> Iterator[model.Listener]:
    """One for each port on which any service speaks HTTP; the port's table says where calls go."""
    ports = {
        port.number
        for service in view.services.values()
        for port in service.ports
        if port.protocol not in NOT_HTTP
    }
    for number in sorted(ports):
        name = f"{sidecar.listen_address}_{number}"
        http = model.HttpConnectionManager(
            routes=model.Rds(str(number)),
            http_filters=filters_of(tables[str(number)].virtual_hosts),
            stat_prefix=f"outbound_{name}",
            normalize_path=view.mesh.normalize_path,
            merge_slashes=view.mesh.merge_slashes,
            path_with_escaped_slashes_action=view.mesh.path_with_escaped_slashes_action,
        )
        address = model.Address(sidecar.listen_address, number)
        yield model.Listener(name=name, http=http, address=address)


def filters_of(hosts: Iterable[model.VirtualHost]) -> tuple[model.HttpFilter, ...]:
    """Those that any of the hosts speaks to; to the others they do nothing."""
    routes = tuple(route for host in hosts for route in host.routes)
    return filters_for(model.VirtualHost(name="all", domains=("*",), routes=routes))


def inbound_of(
    view: View, guard: Guard, sidecar: Sidecar
) -> Iterator[tuple[model.Listener, model.Cluster]]:
    """A listener for each port on which the workload serves, and the way from it to the workload.

    Nothing redirects connections here, so callers have to come to an address of Envoy's own.
    """
    if not sidecar.inbound_address:
        return
    known: dict[int, MeshPort] = {}
    for service in view.services.values():
        if is_mine(service, view):
            for port in service.ports:
                for number in _served(service, port, sidecar.inbound_address):
                    known.setdefault(number, port)
    for number, port in sorted(known.items()):
        if port.protocol not in NOT_HTTP:
            listener, cluster = _inbound(number, port, view, sidecar.inbound_address)
            yield guard.at(listener, number), cluster


def _served(service: MeshService, port: MeshPort, address: str) -> Iterator[int]:
    here = [one for one in service.workloads if one.entry.address == address]
    for workload in here:
        yield target_port(workload, port)
    if not here:
        yield port.target if isinstance(port.target, int) else port.number


def _inbound(
    number: int, port: MeshPort, view: View, address: str
) -> tuple[model.Listener, model.Cluster]:
    name = f"inbound|{number}||"
    place = model.LocalityLbEndpoints(
        lb_endpoints=(model.Endpoint(address=model.Address(WORKLOAD, number)),)
    )
    cluster = model.Cluster(
        name=name,
        discovery=model.Static(model.ClusterLoadAssignment(cluster_name=name, endpoints=(place,))),
        connect_timeout=view.mesh.connect_timeout,
        http_protocol_options=model.HttpProtocolOptions(http2=port.is_http2),
    )
    action = model.RouteAction(cluster=name, timeout=0.0)
    listener = inbound_to(
        f"inbound_{address}_{number}",
        view.mesh,
        (model.Route(match=ANY_PATH, action=action, name="default"),),
        address=model.Address(address, number),
    )
    return listener, cluster
