"""Hypothesis strategies for clusters and endpoints."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import (
    Address,
    Aggregate,
    Cluster,
    ClusterLoadAssignment,
    ClusterProvided,
    Discovery,
    DropOverload,
    Eds,
    Endpoint,
    HealthStatus,
    HttpProtocolOptions,
    Locality,
    LocalityLbEndpoints,
    LogicalDns,
    OriginalDst,
    Random,
    RoundRobin,
    Static,
    StrictDns,
    TcpKeepalive,
)

from .balancing import lb_policies, least_requests, locality_lbs, zone_awares
from .basics import (
    DENOMINATOR,
    NAME,
    PORT,
    POSITIVE,
    TEXT,
    UINT32,
    metadata,
    optional,
    seconds,
    some,
)
from .health import circuit_breakers, health_checks, outlier_detections
from .security import transport_socket_matches, upstream_tls


def ip_addresses() -> SearchStrategy[Address]:
    return st.builds(Address, st.ip_addresses().map(str), PORT)


def dns_addresses() -> SearchStrategy[Address]:
    name = st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,3})?", fullmatch=True)
    return st.builds(Address, name, PORT)


def endpoints(address: SearchStrategy[Address]) -> SearchStrategy[Endpoint]:
    return st.builds(
        Endpoint,
        address=address,
        hostname=TEXT,
        health_status=st.sampled_from(HealthStatus),
        load_balancing_weight=st.integers(1, 2**30),
        metadata=metadata(),
        health_check_port=st.just(0) | PORT,
        disable_active_health_check=st.booleans(),
    )


@st.composite
def load_assignments(
    draw: st.DrawFn, address: SearchStrategy[Address] | None = None
) -> ClusterLoadAssignment:
    places = draw(
        st.lists(
            endpoints(ip_addresses() if address is None else address), max_size=6, unique_by=_place
        )
    )
    localities = draw(st.lists(st.builds(Locality, TEXT, TEXT, TEXT), max_size=3, unique=True))
    groups = tuple(
        LocalityLbEndpoints(
            locality=locality,
            lb_endpoints=tuple(places[index :: len(localities)]),
            load_balancing_weight=draw(optional(st.integers(1, 2**30))),
            priority=index // 2,
        )
        for index, locality in enumerate(localities)
    )
    drop = st.builds(DropOverload, category=NAME, numerator=UINT32, denominator=DENOMINATOR)
    return ClusterLoadAssignment(
        cluster_name=draw(NAME),
        endpoints=groups,
        overprovisioning_factor=draw(st.integers(1, 2**32 - 1)),
        drop_overloads=draw(some(drop)),
    )


def _place(endpoint: Endpoint) -> Address:
    return endpoint.address


def _single(assignment: ClusterLoadAssignment, endpoint: Endpoint) -> ClusterLoadAssignment:
    group = LocalityLbEndpoints(lb_endpoints=(endpoint,))
    return ClusterLoadAssignment(cluster_name=assignment.cluster_name, endpoints=(group,))


def discoveries() -> SearchStrategy[Discovery]:
    single = st.builds(_single, load_assignments(), endpoints(dns_addresses()))
    return st.one_of(
        st.builds(Eds, TEXT),
        st.builds(Static, load_assignments()),
        st.builds(StrictDns, load_assignments(dns_addresses()), POSITIVE),
        st.builds(LogicalDns, single, POSITIVE),
    )


def http_protocol_options() -> SearchStrategy[HttpProtocolOptions]:
    """Streams and pings are of HTTP/2 only."""
    common = {
        "max_requests_per_connection": UINT32,
        "idle_timeout": optional(seconds()),
        "max_connection_duration": optional(POSITIVE),
    }
    http2 = st.builds(
        HttpProtocolOptions,
        http2=st.just(value=True),
        max_concurrent_streams=optional(st.integers(1, 2**32 - 1)),
        keepalive_interval=optional(POSITIVE),
        keepalive_timeout=optional(POSITIVE),
        **common,
    )
    return http2 | st.builds(HttpProtocolOptions, **common)


def tcp_keepalives() -> SearchStrategy[TcpKeepalive]:
    number = optional(UINT32)
    return st.builds(
        TcpKeepalive, keepalive_probes=number, keepalive_time=number, keepalive_interval=number
    )


def _balanced() -> SearchStrategy[dict[str, object]]:
    """What goes together: who finds the endpoints, who picks one, what localities count for."""
    passed_on = {"discovery": OriginalDst(), "lb_policy": ClusterProvided()}
    aggregate = st.builds(Aggregate, some(NAME, least=1))
    usual = st.fixed_dictionaries(
        {
            "discovery": discoveries() | aggregate,
            "lb_policy": lb_policies(),
            "locality_lb": locality_lbs(),
        }
    )
    forced = st.fixed_dictionaries(
        {
            "discovery": discoveries(),
            "lb_policy": st.one_of(st.just(RoundRobin()), st.just(Random()), least_requests()),
            "locality_lb": zone_awares(forced=True),
        }
    )
    return st.one_of(usual, forced, st.just(passed_on))


def _watched() -> SearchStrategy[dict[str, object]]:
    """Which statuses are errors is said where the protocol is."""
    status = st.integers(100, 599)
    statuses = st.lists(status, min_size=1, max_size=3, unique=True).map(tuple)
    usual: SearchStrategy[dict[str, object]] = st.fixed_dictionaries(
        {
            "outlier_detection": optional(outlier_detections()),
            "http_protocol_options": optional(http_protocol_options()),
        }
    )
    picky: SearchStrategy[dict[str, object]] = st.fixed_dictionaries(
        {
            "outlier_detection": outlier_detections(statuses),
            "http_protocol_options": http_protocol_options(),
        }
    )
    return usual | picky


def clusters() -> SearchStrategy[Cluster]:
    def made(balanced: dict[str, object], watched: dict[str, object], **rest: object) -> Cluster:
        return Cluster(**balanced, **watched, **rest)  # type: ignore[arg-type]

    return st.builds(
        made,
        _balanced(),
        _watched(),
        name=NAME,
        connect_timeout=POSITIVE,
        circuit_breakers=circuit_breakers(),
        healthy_panic_threshold=optional(st.floats(0, 100)),
        health_checks=some(health_checks()),
        ignore_health_on_host_removal=st.booleans(),
        tcp_keepalive=optional(tcp_keepalives()),
        metadata=metadata(),
        lrs_server=st.booleans(),
        lrs_report_endpoint_metrics=some(st.sampled_from(("cpu_utilization", "named_metrics.*"))),
        tls=optional(upstream_tls()),
        transport_socket_matches=some(transport_socket_matches()),
    )
