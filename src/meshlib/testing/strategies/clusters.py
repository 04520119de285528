"""Hypothesis strategies for clusters and endpoints."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import (
    Address,
    CircuitBreakers,
    Cluster,
    ClusterLoadAssignment,
    ClusterProvided,
    Discovery,
    DropOverload,
    Eds,
    Endpoint,
    HealthStatus,
    HttpProtocolOptions,
    LbPolicy,
    LeastRequest,
    Locality,
    LocalityLbEndpoints,
    LogicalDns,
    Maglev,
    OriginalDst,
    OutlierDetection,
    Random,
    RetryBudget,
    RingHash,
    RoundRobin,
    Static,
    StrictDns,
    Thresholds,
)

from .basics import (
    DENOMINATOR,
    NAME,
    PERCENT,
    PORT,
    POSITIVE,
    PRIMES,
    TEXT,
    UINT32,
    metadata,
    optional,
    some,
)


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


@st.composite
def ring_hashes(draw: st.DrawFn) -> RingHash:
    most = draw(st.integers(1, 8_388_608))
    return RingHash(minimum_ring_size=draw(st.integers(1, most)), maximum_ring_size=most)


def lb_policies() -> SearchStrategy[LbPolicy]:
    return st.one_of(
        st.builds(RoundRobin),
        st.builds(LeastRequest, choice_count=st.integers(2, 2**32 - 1)),
        st.builds(Random),
        ring_hashes(),
        st.builds(Maglev, table_size=PRIMES),
    )


def circuit_breakers() -> SearchStrategy[CircuitBreakers]:
    budget = st.builds(RetryBudget, budget_percent=st.floats(0, 100), min_retry_concurrency=UINT32)
    level = st.builds(
        Thresholds,
        max_connections=UINT32,
        max_pending_requests=UINT32,
        max_requests=UINT32,
        max_retries=UINT32,
        retry_budget=optional(budget),
    )
    return st.builds(CircuitBreakers, default=level, high=level)


def outlier_detections() -> SearchStrategy[OutlierDetection]:
    return st.builds(
        OutlierDetection,
        consecutive_5xx=UINT32,
        interval=POSITIVE,
        base_ejection_time=POSITIVE,
        max_ejection_time=POSITIVE,
        max_ejection_percent=PERCENT,
        enforcing_consecutive_5xx=PERCENT,
        consecutive_gateway_failure=UINT32,
        enforcing_consecutive_gateway_failure=PERCENT,
        split_external_local_origin_errors=st.booleans(),
        consecutive_local_origin_failure=UINT32,
        enforcing_consecutive_local_origin_failure=PERCENT,
        enforcing_success_rate=PERCENT,
        success_rate_minimum_hosts=UINT32,
        success_rate_request_volume=UINT32,
        success_rate_stdev_factor=UINT32,
        failure_percentage_threshold=PERCENT,
        enforcing_failure_percentage=PERCENT,
        failure_percentage_minimum_hosts=UINT32,
        failure_percentage_request_volume=UINT32,
    )


def clusters() -> SearchStrategy[Cluster]:
    balanced = st.tuples(discoveries(), lb_policies())
    passed_on = st.just((OriginalDst(), ClusterProvided()))

    def made(how: tuple[Discovery, LbPolicy], **rest: object) -> Cluster:
        discovery, lb_policy = how
        return Cluster(discovery=discovery, lb_policy=lb_policy, **rest)  # type: ignore[arg-type]

    return st.builds(
        made,
        balanced | passed_on,
        name=NAME,
        connect_timeout=POSITIVE,
        circuit_breakers=circuit_breakers(),
        outlier_detection=optional(outlier_detections()),
        http_protocol_options=optional(st.builds(HttpProtocolOptions, http2=st.booleans())),
        healthy_panic_threshold=optional(st.floats(0, 100)),
        metadata=metadata(),
    )
