"""``Cluster`` ⇄ :class:`Cluster`."""

from ...model import (
    Aggregate,
    Cluster,
    ClusterLoadAssignment,
    ClusterProvided,
    Discovery,
    Eds,
    LogicalDns,
    OriginalDst,
    Static,
    StrictDns,
)
from .circuit import decode_circuit_breakers, encode_circuit_breakers
from .endpoint import decode_load_assignment, encode_load_assignment
from .health_check import decode_health_check, encode_health_check
from .http_options import (
    decode_http_options,
    decode_tcp_keepalive,
    encode_http_options,
    encode_tcp_keepalive,
)
from .lb_policy import decode_balance, encode_balance
from .metadata import decode_metadata, encode_metadata
from .outlier import decode_outlier_detection, encode_outlier_detection
from .transport import decode_matches, decode_upstream_socket, encode_cluster_sockets
from .wire import Fields, Reader, ads, duration, from_ads, packed

AGGREGATE = "envoy.clusters.aggregate"
AGGREGATE_TYPE = "envoy.extensions.clusters.aggregate.v3.ClusterConfig"


def encode_cluster(cluster: Cluster) -> Fields:
    return {
        "name": cluster.name,
        "connect_timeout": duration(cluster.connect_timeout),
        "circuit_breakers": encode_circuit_breakers(cluster.circuit_breakers),
        "outlier_detection": encode_outlier_detection(cluster.outlier_detection),
        "typed_extension_protocol_options": encode_http_options(
            cluster.http_protocol_options, cluster.outlier_detection
        ),
        "health_checks": [encode_health_check(check) for check in cluster.health_checks],
        "ignore_health_on_host_removal": cluster.ignore_health_on_host_removal,
        "upstream_connection_options": encode_tcp_keepalive(cluster.tcp_keepalive),
        "metadata": encode_metadata(cluster.metadata),
        "lrs_server": {"self": {}} if cluster.lrs_server else None,
        "lrs_report_endpoint_metrics": cluster.lrs_report_endpoint_metrics,
        **encode_cluster_sockets(cluster),
        **_encode_discovery(cluster.discovery),
        **encode_balance(cluster.lb_policy, cluster.locality_lb, cluster.healthy_panic_threshold),
    }


def decode_cluster(reader: Reader) -> Cluster:
    lb_policy, locality_lb, panic = decode_balance(reader)
    http_options, error_statuses = decode_http_options(reader)
    cluster = Cluster(
        name=reader.text("name", required=True),
        discovery=_decode_discovery(reader),
        connect_timeout=reader.seconds("connect_timeout", 5.0, positive=True),
        lb_policy=lb_policy,
        circuit_breakers=decode_circuit_breakers(reader),
        outlier_detection=decode_outlier_detection(reader, error_statuses),
        http_protocol_options=http_options,
        healthy_panic_threshold=panic,
        locality_lb=locality_lb,
        health_checks=tuple(map(decode_health_check, reader.children("health_checks"))),
        ignore_health_on_host_removal=reader.flag("ignore_health_on_host_removal"),
        tcp_keepalive=decode_tcp_keepalive(reader),
        metadata=decode_metadata(reader),
        lrs_server=_decode_lrs_server(reader),
        lrs_report_endpoint_metrics=reader.texts("lrs_report_endpoint_metrics"),
        tls=decode_upstream_socket(reader),
        transport_socket_matches=decode_matches(reader),
    )
    provided = isinstance(cluster.lb_policy, ClusterProvided)
    if provided != isinstance(cluster.discovery, OriginalDst) and not cluster.children:
        reader.problem("CLUSTER_PROVIDED and ORIGINAL_DST go together", "lb_policy")
    return cluster


def _decode_lrs_server(reader: Reader) -> bool:
    """Load is told to who sent the cluster, and to nobody else (gRFC A27)."""
    server = reader.optional_child("lrs_server")
    if server is None:
        return False
    if not server.has("self"):
        server.problem("must be self")
    server.skip("self", "resource_api_version")
    return True


def _encode_discovery(discovery: Discovery) -> Fields:
    match discovery:
        case Eds(service_name):
            config = {"eds_config": ads(), "service_name": service_name}
            return {"type": "EDS", "eds_cluster_config": config}
        case Static(load_assignment):
            return {"type": "STATIC", "load_assignment": encode_load_assignment(load_assignment)}
        case StrictDns(load_assignment, rate):
            return _encode_dns("STRICT_DNS", load_assignment, rate)
        case LogicalDns(load_assignment, rate):
            return _encode_dns("LOGICAL_DNS", load_assignment, rate)
        case OriginalDst():
            return {"type": "ORIGINAL_DST"}
        case Aggregate(clusters):
            config = packed(AGGREGATE_TYPE, {"clusters": clusters})
            return {"cluster_type": {"name": AGGREGATE, "typed_config": config}}


def _encode_dns(kind: str, assignment: ClusterLoadAssignment, rate: float) -> Fields:
    return {
        "type": kind,
        "load_assignment": encode_load_assignment(assignment),
        "dns_refresh_rate": duration(rate),
    }


def _decode_discovery(reader: Reader) -> Discovery:
    if reader.has("cluster_type"):
        return _decode_cluster_type(reader.child("cluster_type"))
    match reader.enum("type"):
        case "EDS":
            return _decode_eds(reader)
        case "ORIGINAL_DST":
            return OriginalDst()
        case "STRICT_DNS":
            rate = reader.seconds("dns_refresh_rate", 5.0, positive=True)
            return StrictDns(_decode_hosts(reader, dns=True), rate)
        case "LOGICAL_DNS":
            return _decode_logical_dns(reader)
        case _:
            return Static(_decode_hosts(reader, dns=False))


def _decode_cluster_type(reader: Reader) -> Discovery:
    reader.skip("name")
    type_name, config = reader.extension("typed_config")
    if type_name != AGGREGATE_TYPE or config is None:
        reader.problem(f"{type_name or 'without typed_config'} is not supported")
        return Eds()
    clusters = config.texts("clusters")
    if not clusters or "" in clusters:
        config.problem("must name at least one cluster, each not empty", "clusters")
    return Aggregate(clusters)


def _decode_eds(reader: Reader) -> Eds:
    eds = reader.child("eds_cluster_config")
    from_ads(eds.child("eds_config"))
    return Eds(eds.text("service_name"))


def _decode_hosts(reader: Reader, *, dns: bool) -> ClusterLoadAssignment:
    if not reader.has("load_assignment"):
        reader.problem("must be set", "load_assignment")
    return decode_load_assignment(reader.child("load_assignment"), dns=dns)


def _decode_logical_dns(reader: Reader) -> LogicalDns:
    if reader.has("dns_refresh_rate"):  # the name is resolved by those who connect
        reader.drop("dns_refresh_rate")
    rate = reader.seconds("dns_refresh_rate", 5.0, positive=True)
    assignment = _decode_hosts(reader, dns=True)
    if [len(group.lb_endpoints) for group in assignment.endpoints] != [1]:
        reader.problem("LOGICAL_DNS takes exactly one endpoint", "load_assignment")
    return LogicalDns(assignment, rate)
