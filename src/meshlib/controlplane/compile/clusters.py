"""Services and DestinationRules → clusters, one per port and subset."""

from collections.abc import Iterator, Sequence

from ... import model
from ..world import MeshSettings
from .balancing import is_passthrough, lb_policy
from .endpoints import load_assignment
from .localities import Group, arranged, preference
from .names import BLACK_HOLE, PASSTHROUGH, cluster_name
from .policies import (
    circuit_breakers,
    connect_timeout,
    http_protocol_options,
    outlier_detection,
    panic_threshold,
    policy_of,
    tcp_keepalive,
)
from .securing import Securing, is_external
from .services import MeshPort, MeshService
from .view import View

Made = tuple[model.Cluster, model.ClusterLoadAssignment | None]


def clusters_of(service: MeshService, view: View) -> Iterator[Made]:
    """Each cluster of the service, with its endpoints where those come by EDS."""
    rule = view.rule_for(service)
    subsets = rule.subsets if rule else {}
    for port in service.ports:
        for subset in ("", *subsets):
            yield _cluster(service, port, subset, view)


def _cluster(service: MeshService, port: MeshPort, subset: str, view: View) -> Made:
    name = cluster_name(service.host, port.number, subset)
    rule = view.rule_for(service)
    chosen = rule.subsets.get(subset) if rule else None
    policy = policy_of(rule, port.number, subset, view.mesh)
    wish = preference(policy.load_balancer, view.mesh)

    def arrange(groups: Sequence[Group]) -> Sequence[Group]:
        if wish is None:
            return groups
        can_fail_over = policy.outlier_detection is not None
        return arranged(groups, wish, view.scope, can_fail_over=can_fail_over)

    labels = chosen.labels if chosen else {}
    securing = Securing(service, policy.tls, view)
    assignment = load_assignment(name, service, port, labels, securing.told, arrange)
    discovery = (
        model.OriginalDst()
        if is_passthrough(policy)
        else _discovery(service, assignment, view.mesh)
    )
    source = rule.manifests[0] if rule else service.manifest
    has_own = not isinstance(discovery, model.OriginalDst)
    tls, matches = securing.sockets(port, subset, assignment)
    cluster = model.Cluster(
        name=name,
        discovery=discovery,
        connect_timeout=connect_timeout(policy, view.mesh),
        lb_policy=lb_policy(policy) if has_own else model.ClusterProvided(),
        circuit_breakers=circuit_breakers(policy),
        outlier_detection=outlier_detection(policy),
        http_protocol_options=http_protocol_options(policy, http2=port.is_http2),
        healthy_panic_threshold=panic_threshold(policy),
        locality_lb=wish.locality_lb if wish is not None and has_own else None,
        tcp_keepalive=tcp_keepalive(policy, view.mesh),
        metadata=_metadata(service, source.place),
        tls=tls,
        transport_socket_matches=matches,
    )
    return cluster, assignment if isinstance(discovery, model.Eds) else None


def _metadata(service: MeshService, place: object) -> model.Metadata:
    """Where it is said and, in Istio's own words, that it is not of the mesh."""
    mark = (("istio", model.Struct((("external", True),))),) if is_external(service) else ()
    return model.Metadata((*mark, *model.sourced(place).filter_metadata))


def _discovery(
    service: MeshService, assignment: model.ClusterLoadAssignment, mesh: MeshSettings
) -> model.Discovery:
    match service.resolution:
        case "DNS":
            return model.StrictDns(assignment, mesh.dns_refresh_rate)
        case "DNS_ROUND_ROBIN":
            return model.LogicalDns(assignment, mesh.dns_refresh_rate)
        case "NONE":
            return model.OriginalDst()
        case _:
            return model.Eds()


def passthrough(mesh: MeshSettings) -> model.Cluster:
    """Where calls to hosts that nobody knows go, unchanged."""
    return model.Cluster(
        name=PASSTHROUGH,
        discovery=model.OriginalDst(),
        connect_timeout=mesh.connect_timeout,
        lb_policy=model.ClusterProvided(),
    )


def black_hole() -> model.Cluster:
    """Where the share of a route goes whose destination does not exist: 503."""
    return model.Cluster(
        name=BLACK_HOLE,
        discovery=model.Static(model.ClusterLoadAssignment(cluster_name=BLACK_HOLE)),
    )
