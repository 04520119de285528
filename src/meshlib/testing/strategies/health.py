"""Hypothesis strategies for what keeps calls from endpoints that fail."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import (
    CircuitBreakers,
    GrpcHealthCheck,
    HealthCheck,
    HttpHealthCheck,
    OutlierDetection,
    RetryBudget,
    TcpHealthCheck,
    Thresholds,
)

from .basics import (
    HEADER_NAME,
    NAME,
    PERCENT,
    POSITIVE,
    TEXT,
    UINT32,
    optional,
    seconds,
    some,
)


def circuit_breakers() -> SearchStrategy[CircuitBreakers]:
    budget = st.builds(RetryBudget, budget_percent=st.floats(0, 100), min_retry_concurrency=UINT32)
    limits = {
        "max_connections": UINT32,
        "max_pending_requests": UINT32,
        "max_requests": UINT32,
        "max_retries": UINT32,
        "retry_budget": optional(budget),
    }
    default = st.builds(Thresholds, max_connections_per_host=optional(UINT32), **limits)
    return st.builds(CircuitBreakers, default=default, high=st.builds(Thresholds, **limits))


def outlier_detections(
    error_statuses: SearchStrategy[tuple[int, ...]] | None = None,
) -> SearchStrategy[OutlierDetection]:
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
        enforcing_local_origin_success_rate=PERCENT,
        enforcing_failure_percentage_local_origin=PERCENT,
        max_ejection_time_jitter=seconds(),
        successful_active_health_check_uneject_host=st.booleans(),
        always_eject_one_host=st.booleans(),
        error_statuses=st.just(()) if error_statuses is None else error_statuses,
    )


def health_checks() -> SearchStrategy[HealthCheck]:
    statuses = st.tuples(st.integers(100, 599), st.integers(100, 599)).map(
        lambda ends: (min(ends), max(ends) + 1)
    )
    http = st.builds(
        HttpHealthCheck,
        path=NAME,
        host=TEXT,
        method=st.sampled_from(["GET", "HEAD", "POST", "OPTIONS"]),
        expected_statuses=some(statuses, least=1),
        retriable_statuses=some(statuses),
        request_headers_to_add=some(st.tuples(HEADER_NAME, TEXT)),
        http2=st.booleans(),
    )
    grpc = st.builds(GrpcHealthCheck, service_name=TEXT, authority=TEXT)
    block = st.binary(max_size=4)
    tcp = st.builds(TcpHealthCheck, send=st.binary(max_size=4), receive=some(block))
    return st.builds(
        HealthCheck,
        checker=st.one_of(http, grpc, tcp),
        timeout=POSITIVE,
        interval=POSITIVE,
        unhealthy_threshold=UINT32,
        healthy_threshold=UINT32,
        initial_jitter=seconds(),
        interval_jitter=seconds(),
        interval_jitter_percent=UINT32,
        no_traffic_interval=POSITIVE,
        no_traffic_healthy_interval=optional(POSITIVE),
        unhealthy_interval=optional(POSITIVE),
        unhealthy_edge_interval=optional(POSITIVE),
        healthy_edge_interval=optional(POSITIVE),
        reuse_connection=st.booleans(),
        always_log_health_check_failures=st.booleans(),
    )
