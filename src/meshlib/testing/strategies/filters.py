"""Hypothesis strategies for HTTP filters and what replaces them per route."""

from dataclasses import replace
from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import (
    AdaptiveConcurrency,
    AdmissionControl,
    Cors,
    DestinationCluster,
    ExtensionConfig,
    Fault,
    FaultAbort,
    FaultDelay,
    FilterConfig,
    FilterDiscovery,
    FilterOverride,
    GenericKey,
    GlobalRateLimit,
    HeaderValueMatch,
    HttpFilter,
    LocalDescriptor,
    LocalRateLimit,
    Overrides,
    Percentage,
    QueryParameter,
    RateLimit,
    RateLimitAction,
    RemoteAddress,
    RequestHeader,
    Router,
    SourceCluster,
    TokenBucket,
)

from .access import rbacs
from .authorizers import ext_authzs, ext_authzs_of_places
from .basics import (
    DENOMINATOR,
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
from .matchers import header_matchers, string_matchers
from .telemetry import stats
from .tokens import jwt_authns

COUNT = st.integers(1, 2**32 - 1)
STAGE = st.integers(0, 10)
FLAGS = {"is_optional": st.booleans(), "disabled": st.booleans()}
ERROR_STATUS = st.sampled_from([400, 418, 429, 500, 503, 511])
RATE_LIMIT_HEADERS = st.sampled_from(["off", "draft_version_03"])


def percentages() -> SearchStrategy[Percentage]:
    return st.builds(Percentage, numerator=UINT32, denominator=DENOMINATOR)


def faults() -> SearchStrategy[Fault]:
    delay = st.builds(FaultDelay, fixed_delay=optional(POSITIVE), percentage=percentages())
    neither: dict[str, int] = {}
    status = st.one_of(
        st.just(neither),
        st.integers(200, 599).map(lambda code: {"http_status": code}),
        st.integers(0, 16).map(lambda code: {"grpc_status": code}),
    )
    abort = st.builds(lambda by, share: FaultAbort(**by, percentage=share), status, percentages())
    return st.builds(
        Fault,
        delay=optional(delay),
        abort=optional(abort),
        max_active_faults=optional(UINT32),
        headers=some(header_matchers()),
        upstream_cluster=TEXT,
    )


def rate_limits(*, in_filter: bool = False) -> SearchStrategy[RateLimit]:
    """``in_filter``: of a filter itself, where stages mean nothing."""
    action: SearchStrategy[RateLimitAction] = st.one_of(
        st.builds(GenericKey, descriptor_value=NAME, descriptor_key=NAME),
        st.builds(
            RequestHeader,
            header_name=HEADER_NAME,
            descriptor_key=NAME,
            skip_if_absent=st.booleans(),
        ),
        st.builds(RemoteAddress),
        st.builds(DestinationCluster),
        st.builds(SourceCluster),
        st.builds(
            HeaderValueMatch,
            descriptor_value=NAME,
            headers=some(header_matchers(), least=1),
            expect_match=st.booleans(),
            descriptor_key=NAME,
        ),
        st.builds(
            QueryParameter,
            query_parameter_name=NAME,
            descriptor_key=NAME,
            skip_if_absent=st.booleans(),
        ),
    )
    return st.builds(
        RateLimit, actions=some(action, least=1), stage=st.just(0) if in_filter else STAGE
    )


def local_rate_limits() -> SearchStrategy[LocalRateLimit]:
    bucket = st.builds(
        TokenBucket,
        max_tokens=COUNT,
        tokens_per_fill=COUNT,
        fill_interval=seconds(least=50_000_000),
    )
    descriptor = st.builds(
        LocalDescriptor, entries=some(st.tuples(NAME, TEXT), least=1), token_bucket=bucket
    )
    return st.builds(
        LocalRateLimit,
        stat_prefix=NAME,
        token_bucket=optional(bucket),
        filter_enabled=percentages(),
        filter_enforced=percentages(),
        status=ERROR_STATUS,
        descriptors=some(descriptor),
        rate_limits=some(rate_limits(in_filter=True)),
        headers=RATE_LIMIT_HEADERS,
        rate_limited_as_resource_exhausted=st.booleans(),
        always_consume_default_token_bucket=st.booleans(),
        max_dynamic_descriptors=COUNT,
        stage=STAGE,
    )


def global_rate_limits() -> SearchStrategy[GlobalRateLimit]:
    return st.builds(
        GlobalRateLimit,
        domain=NAME,
        cluster=NAME,
        timeout=seconds(),
        failure_mode_deny=st.booleans(),
        status=ERROR_STATUS,
        status_on_error=ERROR_STATUS,
        headers=RATE_LIMIT_HEADERS,
        rate_limited_as_resource_exhausted=st.booleans(),
        stage=STAGE,
        rate_limits=some(rate_limits(in_filter=True)),
        disable_x_envoy_ratelimited_header=st.booleans(),
    )


def cors_policies() -> SearchStrategy[Cors]:
    return st.builds(
        Cors,
        allow_origins=some(string_matchers()),
        allow_methods=TEXT,
        allow_headers=TEXT,
        expose_headers=TEXT,
        max_age=TEXT,
        allow_credentials=optional(st.booleans()),
        filter_enabled=percentages(),
        shadow_enabled=percentages(),
        forward_not_matching_preflights=st.booleans(),
    )


def adaptive_concurrencies() -> SearchStrategy[AdaptiveConcurrency]:
    """Without ``max_loop_lag``, which does not travel."""
    percent = PERCENT.map(float)
    return st.builds(
        AdaptiveConcurrency,
        enabled=st.booleans(),
        sample_aggregate_percentile=percent,
        max_concurrency_limit=COUNT,
        concurrency_update_interval=POSITIVE,
        min_rtt_interval=POSITIVE,
        min_rtt_request_count=COUNT,
        min_rtt_jitter=percent,
        min_concurrency=COUNT,
        min_rtt_buffer=percent,
        fixed_min_rtt=optional(POSITIVE),
        status=ERROR_STATUS,
    )


def admission_controls() -> SearchStrategy[AdmissionControl]:
    ranges = st.tuples(st.integers(100, 599), st.integers(100, 599)).map(
        lambda ends: (min(ends), max(ends) + 1)
    )
    return st.builds(
        AdmissionControl,
        enabled=st.booleans(),
        success_statuses=some(ranges, least=1),
        success_grpc_statuses=some(st.integers(0, 16), least=1),
        sampling_window=POSITIVE,
        aggression=st.floats(0, 1e6),
        success_rate_threshold=st.floats(0, 100),
        rps_threshold=UINT32,
        max_rejection_probability=st.floats(0, 100),
    )


def filter_configs() -> SearchStrategy[FilterConfig]:
    """Of filters before the router, in a listener."""
    return st.one_of(
        faults(),
        local_rate_limits(),
        global_rate_limits(),
        st.just(Cors()),
        adaptive_concurrencies(),
        admission_controls(),
        rbacs(),
        jwt_authns(),
        ext_authzs(),
        stats(),
    )


def extension_configs() -> SearchStrategy[ExtensionConfig]:
    return st.builds(ExtensionConfig, name=NAME, config=filter_configs())


def filter_discoveries() -> SearchStrategy[FilterDiscovery]:
    plain = st.builds(FilterDiscovery, types=st.sampled_from([(Fault,), (Cors, LocalRateLimit)]))
    defaulted = st.builds(
        lambda default, at_once: FilterDiscovery(
            types=(type(default),),
            default_config=default,
            apply_default_config_without_warming=at_once,
        ),
        filter_configs(),
        st.booleans(),
    )
    return plain | defaulted


@st.composite
def http_filters(draw: st.DrawFn) -> tuple[HttpFilter, ...]:
    """Filters of distinct names, the router last."""
    names = draw(st.lists(NAME, unique=True, max_size=3))
    before = [replace(draw(_one_filter()), name=name) for name in names]
    router = st.builds(HttpFilter, name=st.just("the router"), config=st.builds(Router), **FLAGS)
    return (*before, draw(router))


@cache
def _one_filter() -> SearchStrategy[HttpFilter]:
    config = filter_configs() | filter_discoveries()
    return st.builds(HttpFilter, name=NAME, config=config, **FLAGS)


def overrides() -> SearchStrategy[Overrides]:
    per_route = st.builds(
        GlobalRateLimit,
        domain=TEXT,
        cluster=st.just(""),
        rate_limits=some(rate_limits(in_filter=True)),
    )
    config: SearchStrategy[FilterConfig] = st.one_of(
        faults(),
        local_rate_limits(),
        global_rate_limits(),
        per_route,
        cors_policies(),
        rbacs(),
        ext_authzs_of_places(),
    )
    override = st.builds(
        FilterOverride,
        name=NAME,
        config=optional(config),
        disabled=st.booleans(),
        is_optional=st.booleans(),
    )
    listed = st.lists(override, max_size=2, unique_by=lambda one: one.name)
    named = listed.map(lambda found: tuple(sorted(found, key=lambda one: one.name)))
    return st.just(()) | named
