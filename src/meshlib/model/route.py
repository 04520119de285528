"""Route tables as data (``envoy.config.route.v3``)."""

from dataclasses import dataclass

from .filter import ALWAYS, Overrides, Percentage, RateLimit
from .matcher import HeaderMatcher, RouteMatch
from .metadata import Metadata
from .policy import HedgePolicy, RetryPolicy
from .telemetry import CustomTag


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderValueOption:
    """One header to add; ``append_action`` in Envoy's words, lower case.

    ``value`` may hold ``%…%`` operators, filled in per call; ``%%`` is a percent sign.
    """

    name: str
    value: str
    append_action: str = "append_if_exists_or_add"
    keep_empty_value: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderMutations:
    """What one level (weight, route, virtual host, table) does to headers."""

    request_headers_to_add: tuple[HeaderValueOption, ...] = ()
    request_headers_to_remove: tuple[str, ...] = ()
    response_headers_to_add: tuple[HeaderValueOption, ...] = ()
    response_headers_to_remove: tuple[str, ...] = ()


NO_MUTATIONS = HeaderMutations()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterWeight:
    name: str
    weight: int
    headers: HeaderMutations = NO_MUTATIONS
    metadata: Metadata = Metadata()
    host_rewrite_literal: str = ""
    overrides: Overrides = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedClusters:
    """One roll a call decides, or what the caller says: the number in ``header_name``, or the
    hash of the route's hash policies (``random_value_specifier``)."""

    clusters: tuple[ClusterWeight, ...]
    header_name: str = ""
    use_hash_policy: bool = False

    @property
    def total_weight(self) -> int:
        return sum(cluster.weight for cluster in self.clusters)


@dataclass(frozen=True, slots=True)
class ClusterHeader:
    """The request names the cluster in this header."""

    header_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegexRewrite:
    """RE2; every match is replaced; a backslash and a digit stand for a group (regex.proto)."""

    pattern: str
    substitution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HashHeader:
    header_name: str
    regex_rewrite: RegexRewrite | None = None
    terminal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HashCookie:
    """``ttl`` in seconds: a caller without the cookie gets one (0: for its session); ``None``:
    it gets none. ``attributes`` as they are written into ``set-cookie``."""

    name: str
    ttl: float | None = None
    path: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    terminal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HashSourceIp:
    terminal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HashQueryParameter:
    name: str
    terminal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HashFilterState:
    """``io.grpc.channel_id``: all calls of one channel alike (gRFC A42)."""

    key: str
    terminal: bool = False


HashPolicy = HashHeader | HashCookie | HashSourceIp | HashQueryParameter | HashFilterState


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMirrorPolicy:
    """Send a copy to another cluster for that share of the calls, and never mind the answer."""

    cluster: str
    runtime_fraction: Percentage = ALWAYS
    disable_shadow_host_suffix_append: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxStreamDuration:
    """gRPC's time-out (gRFC A31): ``None`` is unset, 0 is "no limit"."""

    max_stream_duration: float | None = None
    grpc_timeout_header_max: float | None = None
    grpc_timeout_header_offset: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteAction:
    """Forward. ``timeout`` ``None`` is unset (Envoy: 15 s for HTTP), 0 is "no limit".

    At most one of the ``host_rewrite`` fields and ``auto_host_rewrite`` is set, and at most one of
    ``prefix_rewrite`` and ``regex_rewrite``.
    """

    cluster: str | WeightedClusters | ClusterHeader
    timeout: float | None = None
    max_stream_duration: MaxStreamDuration | None = None
    retry_policy: RetryPolicy | None = None
    prefix_rewrite: str = ""
    regex_rewrite: RegexRewrite | None = None
    host_rewrite_literal: str = ""
    host_rewrite_header: str = ""
    host_rewrite_path_regex: RegexRewrite | None = None
    auto_host_rewrite: bool = False
    append_x_forwarded_host: bool = False
    priority: str = "default"
    hash_policy: tuple[HashPolicy, ...] = ()
    request_mirror_policies: tuple[RequestMirrorPolicy, ...] = ()
    hedge_policy: HedgePolicy | None = None
    rate_limits: tuple[RateLimit, ...] = ()
    cluster_not_found_response_code: int = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class RedirectAction:
    host_redirect: str = ""
    path_redirect: str = ""
    prefix_rewrite: str = ""
    regex_rewrite: RegexRewrite | None = None
    scheme_redirect: str = ""
    https_redirect: bool = False
    port_redirect: int = 0
    response_code: int = 301
    strip_query: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectResponseAction:
    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class NonForwardingAction:
    """The route of an inbound listener: the call is served here."""


Action = RouteAction | RedirectAction | DirectResponseAction | NonForwardingAction


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTracing:
    """What spans of calls by a route have: ``operation`` is the name of those of HTTP (of its
    decorator), "" for the usual one; ``custom_tags`` go beside the listener's."""

    operation: str = ""
    custom_tags: tuple[CustomTag, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    match: RouteMatch = RouteMatch()
    action: Action
    name: str = ""
    metadata: Metadata = Metadata()
    headers: HeaderMutations = NO_MUTATIONS
    overrides: Overrides = ()
    stat_prefix: str = ""
    tracing: RouteTracing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualCluster:
    """A name for calls that match all of these headers, for statistics."""

    name: str
    headers: tuple[HeaderMatcher, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """``domains``: exact, ``*.suffix``, ``prefix.*`` or ``*``; the most specific wins.

    ``require_tls`` "none", "external_only" or "all": others are redirected to https.
    ``include_request_attempt_count``: ``x-envoy-attempt-count`` to upstream, and
    ``include_attempt_count_in_response`` to the caller.
    """

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    retry_policy: RetryPolicy | None = None
    headers: HeaderMutations = NO_MUTATIONS
    metadata: Metadata = Metadata()
    require_tls: str = "none"
    virtual_clusters: tuple[VirtualCluster, ...] = ()
    hedge_policy: HedgePolicy | None = None
    request_mirror_policies: tuple[RequestMirrorPolicy, ...] = ()
    rate_limits: tuple[RateLimit, ...] = ()
    include_request_attempt_count: bool = False
    include_attempt_count_in_response: bool = False
    overrides: Overrides = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfiguration:
    """``most_specific_header_mutations_wins``: levels act from the table to the weight, so that
    the most specific has the last word; else the other way round."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...] = ()
    ignore_port_in_host_matching: bool = False
    max_direct_response_body_size_bytes: int = 4096
    headers: HeaderMutations = NO_MUTATIONS
    internal_only_headers: tuple[str, ...] = ()
    most_specific_header_mutations_wins: bool = False
    request_mirror_policies: tuple[RequestMirrorPolicy, ...] = ()
    overrides: Overrides = ()
