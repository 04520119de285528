"""Hypothesis strategies for route tables."""

from dataclasses import replace
from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import (
    Action,
    ClusterHeader,
    ClusterWeight,
    DirectResponseAction,
    HashCookie,
    HashFilterState,
    HashHeader,
    HashPolicy,
    HashQueryParameter,
    HashSourceIp,
    HeaderMutations,
    HeaderValueOption,
    MaxStreamDuration,
    NonForwardingAction,
    RedirectAction,
    RegexRewrite,
    RequestMirrorPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualCluster,
    VirtualHost,
    WeightedClusters,
)
from meshlib.model.route import RouteTracing

from .basics import (
    APPEND_ACTION,
    FORMAT,
    HEADER_NAME,
    NAME,
    PATTERN,
    TEXT,
    metadata,
    optional,
    seconds,
    some,
)
from .filters import overrides, percentages, rate_limits
from .matchers import header_matchers, route_matches
from .retries import hedge_policies, retry_policies
from .telemetry import custom_tags


def header_mutations() -> SearchStrategy[HeaderMutations]:
    option = st.builds(
        HeaderValueOption,
        name=HEADER_NAME,
        value=FORMAT,
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


def regex_rewrites() -> SearchStrategy[RegexRewrite]:
    return st.sampled_from(
        [
            RegexRewrite(pattern="^/(v[0-9]+)/", substitution=r"/\1/x"),
            RegexRewrite(pattern="a|b", substitution=r"\\"),
            RegexRewrite(pattern="(x)(y)?", substitution=""),
        ]
    )


def hash_policies() -> SearchStrategy[HashPolicy]:
    terminal = st.booleans()
    return st.one_of(
        st.builds(
            HashHeader,
            header_name=HEADER_NAME,
            regex_rewrite=optional(regex_rewrites()),
            terminal=terminal,
        ),
        st.builds(
            HashCookie,
            name=NAME,
            ttl=optional(seconds()),
            path=TEXT,
            attributes=some(st.tuples(NAME, TEXT)),
            terminal=terminal,
        ),
        st.builds(HashSourceIp, terminal=terminal),
        st.builds(HashQueryParameter, name=NAME, terminal=terminal),
        st.builds(HashFilterState, key=st.just("io.grpc.channel_id"), terminal=terminal),
    )


def mirror_policies() -> SearchStrategy[RequestMirrorPolicy]:
    return st.builds(
        RequestMirrorPolicy,
        cluster=NAME,
        runtime_fraction=percentages(),
        disable_shadow_host_suffix_append=st.booleans(),
    )


def weighted_clusters() -> SearchStrategy[WeightedClusters]:
    choice = st.builds(
        ClusterWeight,
        name=NAME,
        weight=st.integers(1, 2**30),
        headers=header_mutations(),
        metadata=metadata(),
        host_rewrite_literal=TEXT,
        overrides=overrides(),
    )
    listed = some(choice, least=1)
    return st.one_of(
        st.builds(WeightedClusters, clusters=listed, header_name=st.just("") | HEADER_NAME),
        st.builds(WeightedClusters, clusters=listed, use_hash_policy=st.booleans()),
    )


HOST_REWRITES = st.one_of(
    TEXT.map(lambda text: {"host_rewrite_literal": text}),
    HEADER_NAME.map(lambda name: {"host_rewrite_header": name}),
    regex_rewrites().map(lambda rewrite: {"host_rewrite_path_regex": rewrite}),
    st.booleans().map(lambda flag: {"auto_host_rewrite": flag}),
)
PATH_REWRITES = st.one_of(
    TEXT.map(lambda text: {"prefix_rewrite": text}),
    regex_rewrites().map(lambda rewrite: {"regex_rewrite": rewrite}),
)


def route_actions() -> SearchStrategy[RouteAction]:
    durations = st.builds(
        MaxStreamDuration,
        max_stream_duration=optional(seconds()),
        grpc_timeout_header_max=optional(seconds()),
        grpc_timeout_header_offset=optional(seconds()),
    )

    def made(host: dict[str, object], path: dict[str, object], **rest: object) -> RouteAction:
        return RouteAction(**host, **path, **rest)  # type: ignore[arg-type]

    return st.builds(
        made,
        HOST_REWRITES,
        PATH_REWRITES,
        cluster=NAME | weighted_clusters() | st.builds(ClusterHeader, HEADER_NAME),
        timeout=optional(seconds()),
        max_stream_duration=optional(durations),
        retry_policy=optional(retry_policies()),
        append_x_forwarded_host=st.booleans(),
        priority=st.sampled_from(["default", "high"]),
        hash_policy=some(hash_policies()),
        request_mirror_policies=some(mirror_policies()),
        hedge_policy=optional(hedge_policies()),
        rate_limits=some(rate_limits()),
        cluster_not_found_response_code=st.sampled_from([503, 404, 500]),
    )


@st.composite
def redirect_actions(draw: st.DrawFn) -> RedirectAction:
    path = draw(
        st.one_of(
            TEXT.map(lambda text: {"path_redirect": text}),
            TEXT.map(lambda text: {"prefix_rewrite": text}),
            regex_rewrites().map(lambda rewrite: {"regex_rewrite": rewrite}),
        )
    )
    scheme, https = draw(
        st.tuples(TEXT, st.just(value=False)) | st.tuples(st.just(""), st.booleans())
    )
    return RedirectAction(
        host_redirect=draw(TEXT),
        scheme_redirect=scheme,
        https_redirect=https,
        port_redirect=draw(st.integers(0, 65535)),
        response_code=draw(st.sampled_from([301, 302, 303, 307, 308])),
        strip_query=draw(st.booleans()),
        **path,
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
        overrides=overrides(),
        stat_prefix=TEXT,
        tracing=optional(st.builds(RouteTracing, operation=NAME, custom_tags=custom_tags())),
    )


def virtual_hosts() -> SearchStrategy[VirtualHost]:
    virtual_cluster = st.builds(VirtualCluster, name=NAME, headers=some(header_matchers(), least=1))
    return st.builds(
        VirtualHost,
        name=TEXT,
        domains=st.tuples(PATTERN),
        routes=some(routes()),
        retry_policy=optional(retry_policies()),
        headers=header_mutations(),
        metadata=metadata(),
        require_tls=st.sampled_from(["none", "external_only", "all"]),
        virtual_clusters=some(virtual_cluster),
        hedge_policy=optional(hedge_policies()),
        request_mirror_policies=some(mirror_policies()),
        rate_limits=some(rate_limits()),
        include_request_attempt_count=st.booleans(),
        include_attempt_count_in_response=st.booleans(),
        overrides=overrides(),
    )


@st.composite
def route_configurations(draw: st.DrawFn) -> RouteConfiguration:
    patterns = draw(st.lists(PATTERN, unique=True, max_size=2))
    hosts = tuple(replace(draw(_hosts()), domains=(pattern,)) for pattern in patterns)
    return replace(draw(_tables()), virtual_hosts=hosts)


@cache
def _hosts() -> SearchStrategy[VirtualHost]:
    """Made once: what is built anew for each draw costs more than to draw."""
    return virtual_hosts()


@cache
def _tables() -> SearchStrategy[RouteConfiguration]:
    return st.builds(
        RouteConfiguration,
        name=NAME,
        ignore_port_in_host_matching=st.booleans(),
        max_direct_response_body_size_bytes=st.integers(8, 2**32 - 1),
        headers=header_mutations(),
        internal_only_headers=some(HEADER_NAME),
        most_specific_header_mutations_wins=st.booleans(),
        request_mirror_policies=some(mirror_policies()),
        overrides=overrides(),
    )
