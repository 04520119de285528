"""Services and DestinationRules → clusters, one per port and subset."""

from collections.abc import Iterator

from ... import model
from .endpoints import load_assignment
from .names import BLACK_HOLE, PASSTHROUGH, cluster_name
from .policies import (
    CONNECT_TIMEOUT,
    circuit_breakers,
    connect_timeout,
    lb_policy,
    outlier_detection,
    panic_threshold,
    policy_at,
)
from .services import MeshPort, MeshService
from .view import Rule

DNS_REFRESH_RATE = 60.0

Made = tuple[model.Cluster, model.ClusterLoadAssignment | None]


def clusters_of(service: MeshService, rule: Rule | None) -> Iterator[Made]:
    """Each cluster of the service, with its endpoints where those come by EDS."""
    subsets = rule.subsets if rule else {}
    for port in service.ports:
        for subset in ("", *subsets):
            yield _cluster(service, port, rule, subset)


def _cluster(service: MeshService, port: MeshPort, rule: Rule | None, subset: str) -> Made:
    name = cluster_name(service.host, port.number, subset)
    chosen = rule.subsets.get(subset) if rule else None
    policy = policy_at(
        port.number,
        rule.traffic_policy if rule else None,
        chosen.traffic_policy if chosen else None,
    )
    assignment = load_assignment(name, service, port, chosen.labels if chosen else {})
    discovery = _discovery(service, assignment)
    source = rule.manifests[0] if rule else service.manifest
    cluster = model.Cluster(
        name=name,
        discovery=discovery,
        connect_timeout=connect_timeout(policy),
        lb_policy=model.ClusterProvided()
        if isinstance(discovery, model.OriginalDst)
        else lb_policy(policy),
        circuit_breakers=circuit_breakers(policy),
        outlier_detection=outlier_detection(policy),
        http_protocol_options=model.HttpProtocolOptions(http2=True) if port.is_http2 else None,
        healthy_panic_threshold=panic_threshold(policy),
        metadata=model.sourced(source.place),
    )
    return cluster, assignment if isinstance(discovery, model.Eds) else None


def _discovery(service: MeshService, assignment: model.ClusterLoadAssignment) -> model.Discovery:
    match service.resolution:
        case "DNS":
            return model.StrictDns(assignment, DNS_REFRESH_RATE)
        case "DNS_ROUND_ROBIN":
            return model.LogicalDns(assignment, DNS_REFRESH_RATE)
        case "NONE":
            return model.OriginalDst()
        case _:
            return model.Eds()


def passthrough() -> model.Cluster:
    """Where calls to hosts that nobody knows go, unchanged."""
    return model.Cluster(
        name=PASSTHROUGH,
        discovery=model.OriginalDst(),
        connect_timeout=CONNECT_TIMEOUT,
        lb_policy=model.ClusterProvided(),
    )


def black_hole() -> model.Cluster:
    """Where the share of a route goes whose destination does not exist: 503."""
    return model.Cluster(
        name=BLACK_HOLE,
        discovery=model.Static(model.ClusterLoadAssignment(cluster_name=BLACK_HOLE)),
    )
