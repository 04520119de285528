"""Hypothesis strategies for route tables."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import (
    Action,
    ClusterWeight,
    Contains,
    DirectResponseAction,
    Exact,
    HeaderMatcher,
    HeaderMutations,
    HeaderValueOption,
    MaxStreamDuration,
    NonForwardingAction,
    PathExact,
    PathMatcher,
    PathPrefix,
    PathRegex,
    PathSeparatedPrefix,
    Prefix,
    Present,
    QueryParameterMatcher,
    Range,
    RedirectAction,
    RetryBackOff,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    RuntimeFraction,
    SafeRegex,
    StringMatcher,
    Suffix,
    VirtualHost,
    WeightedClusters,
)

from .basics import (
    APPEND_ACTION,
    DENOMINATOR,
    HEADER_NAME,
    INT64,
    NAME,
    PATTERN,
    REGEX,
    RETRY_WORD,
    TEXT,
    UINT32,
    metadata,
    optional,
    seconds,
    some,
)


def string_matchers() -> SearchStrategy[StringMatcher]:
    return st.one_of(
        st.builds(Exact, TEXT, st.booleans()),
        st.builds(Prefix, NAME, st.booleans()),
        st.builds(Suffix, NAME, st.booleans()),
        st.builds(Contains, NAME, st.booleans()),
        st.builds(SafeRegex, REGEX),
    )


def header_matchers() -> SearchStrategy[HeaderMatcher]:
    present = st.builds(Present, st.booleans())
    return st.builds(
        HeaderMatcher,
        name=HEADER_NAME,
        match=string_matchers() | st.builds(Range, INT64, INT64) | present,
        invert_match=st.booleans(),
        treat_missing_header_as_empty=st.booleans(),
    )


def path_matchers() -> SearchStrategy[PathMatcher]:
    separable = st.from_regex(r"(/[a-z]{1,3}){1,3}", fullmatch=True)
    return st.one_of(
        st.builds(PathPrefix, TEXT),
        st.builds(PathExact, TEXT),
        st.builds(PathSeparatedPrefix, separable),
        st.builds(PathRegex, REGEX),
    )


def route_matches() -> SearchStrategy[RouteMatch]:
    query = st.builds(
        QueryParameterMatcher,
        name=NAME,
        match=string_matchers() | st.builds(Present, st.booleans()),
    )
    fraction = st.builds(
        RuntimeFraction, numerator=UINT32, denominator=DENOMINATOR, runtime_key=TEXT
    )
    return st.builds(
        RouteMatch,
        path=path_matchers(),
        case_sensitive=st.booleans(),
        headers=some(header_matchers()),
        grpc=st.booleans(),
        query_parameters=some(query),
        runtime_fraction=optional(fraction),
    )


def header_mutations() -> SearchStrategy[HeaderMutations]:
    option = st.builds(
        HeaderValueOption,
        name=HEADER_NAME,
        value=TEXT,
        append_action=APPEND_ACTION,
        keep_empty_value=st.booleans(),
    )
    return st.just(HeaderMutations()) | st.builds(
        HeaderMutations,
        request_headers_to_add=some(option),
        request_headers_to_remove=some(HEADER_NAME),
        response_headers_to_add=some(option),
        response_headers_to_remove=some(HEADER_NAME),
    )


@st.composite
def retry_back_offs(draw: st.DrawFn) -> RetryBackOff:
    base = draw(st.integers(1, 10**12))
    longest = draw(optional(st.integers(base, 10**13)))
    return RetryBackOff(
        base_interval=base / 1e9, max_interval=None if longest is None else longest / 1e9
    )


def retry_policies() -> SearchStrategy[RetryPolicy]:
    return st.builds(
        RetryPolicy,
        retry_on=some(RETRY_WORD),
        num_retries=st.integers(1, 2**32 - 1),
        per_try_timeout=optional(seconds()),
        per_try_idle_timeout=optional(seconds()),
        retriable_status_codes=some(st.integers(100, 599)),
        retry_back_off=retry_back_offs(),
        previous_hosts=st.booleans(),
        host_selection_retry_max_attempts=st.integers(1, 2**63 - 1),
    )


def weighted_clusters() -> SearchStrategy[WeightedClusters]:
    choice = st.builds(
        ClusterWeight,
        name=NAME,
        weight=st.integers(1, 2**30),
        headers=header_mutations(),
        metadata=metadata(),
    )
    return st.builds(WeightedClusters, clusters=some(choice, least=1))


def route_actions() -> SearchStrategy[RouteAction]:
    durations = st.builds(
        MaxStreamDuration,
        max_stream_duration=optional(seconds()),
        grpc_timeout_header_max=optional(seconds()),
        grpc_timeout_header_offset=optional(seconds()),
    )
    rewrite = st.tuples(TEXT, st.just(value=False)) | st.tuples(st.just(""), st.booleans())

    def made(
        cluster: str | WeightedClusters, host: tuple[str, bool], **rest: object
    ) -> RouteAction:
        literal, auto = host
        return RouteAction(
            cluster=cluster,
            host_rewrite_literal=literal,
            auto_host_rewrite=auto,
            **rest,  # type: ignore[arg-type]
        )

    return st.builds(
        made,
        NAME | weighted_clusters(),
        rewrite,
        timeout=optional(seconds()),
        max_stream_duration=optional(durations),
        retry_policy=optional(retry_policies()),
        prefix_rewrite=TEXT,
        priority=st.sampled_from(["default", "high"]),
    )


@st.composite
def redirect_actions(draw: st.DrawFn) -> RedirectAction:
    path, prefix = draw(st.tuples(TEXT, st.just("")) | st.tuples(st.just(""), TEXT))
    scheme, https = draw(
        st.tuples(TEXT, st.just(value=False)) | st.tuples(st.just(""), st.booleans())
    )
    return RedirectAction(
        host_redirect=draw(TEXT),
        path_redirect=path,
        prefix_rewrite=prefix,
        scheme_redirect=scheme,
        https_redirect=https,
        port_redirect=draw(st.integers(0, 65535)),
        response_code=draw(st.sampled_from([301, 302, 303, 307, 308])),
        strip_query=draw(st.booleans()),
    )


def actions() -> SearchStrategy[Action]:
    direct = st.builds(
        DirectResponseAction, status=st.integers(200, 599), body=st.binary(max_size=8)
    )
    return st.one_of(route_actions(), redirect_actions(), direct, st.builds(NonForwardingAction))


def routes() -> SearchStrategy[Route]:
    return st.builds(
        Route,
        match=route_matches(),
        action=actions(),
        name=TEXT,
        metadata=metadata(),
        headers=header_mutations(),
    )


@st.composite
def route_configurations(draw: st.DrawFn) -> RouteConfiguration:
    patterns = draw(st.lists(PATTERN, unique=True, max_size=3))
    hosts = (
        VirtualHost(
            name=draw(TEXT),
            domains=(pattern,),
            routes=draw(some(routes())),
            retry_policy=draw(optional(retry_policies())),
            headers=draw(header_mutations()),
            metadata=draw(metadata()),
        )
        for pattern in patterns
    )
    return RouteConfiguration(
        name=draw(NAME),
        virtual_hosts=tuple(hosts),
        ignore_port_in_host_matching=draw(st.booleans()),
        max_direct_response_body_size_bytes=draw(st.integers(8, 2**32 - 1)),
        headers=draw(header_mutations()),
    )
