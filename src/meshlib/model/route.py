"""Route tables as data (``envoy.config.route.v3``)."""

from dataclasses import dataclass

from .matcher import RouteMatch
from .metadata import Metadata
from .policy import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderValueOption:
    """One header to add; ``append_action`` in Envoy's words, lower case."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedClusters:
    clusters: tuple[ClusterWeight, ...]

    @property
    def total_weight(self) -> int:
        return sum(cluster.weight for cluster in self.clusters)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxStreamDuration:
    """gRPC's time-out (gRFC A31): ``None`` is unset, 0 is "no limit"."""

    max_stream_duration: float | None = None
    grpc_timeout_header_max: float | None = None
    grpc_timeout_header_offset: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteAction:
    """Forward. ``timeout`` ``None`` is unset (Envoy: 15 s for HTTP), 0 is "no limit"."""

    cluster: str | WeightedClusters
    timeout: float | None = None
    max_stream_duration: MaxStreamDuration | None = None
    retry_policy: RetryPolicy | None = None
    prefix_rewrite: str = ""
    host_rewrite_literal: str = ""
    auto_host_rewrite: bool = False
    priority: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedirectAction:
    host_redirect: str = ""
    path_redirect: str = ""
    prefix_rewrite: str = ""
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
class Route:
    match: RouteMatch = RouteMatch()
    action: Action
    name: str = ""
    metadata: Metadata = Metadata()
    headers: HeaderMutations = NO_MUTATIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """``domains``: exact, ``*.suffix``, ``prefix.*`` or ``*``; the most specific wins."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    retry_policy: RetryPolicy | None = None
    headers: HeaderMutations = NO_MUTATIONS
    metadata: Metadata = Metadata()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfiguration:
    name: str
    virtual_hosts: tuple[VirtualHost, ...] = ()
    ignore_port_in_host_matching: bool = False
    max_direct_response_body_size_bytes: int = 4096
    headers: HeaderMutations = NO_MUTATIONS
