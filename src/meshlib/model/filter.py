"""HTTP filters as data. Order in a listener is the order in which a request meets them.

A filter's configuration may be replaced per table, virtual host, route or weighted cluster
(``typed_per_filter_config``): the most specific one holds, as a whole.
"""

from dataclasses import dataclass

from .authn import ExtAuthz, JwtAuthn
from .matcher import HeaderMatcher, StringMatcher
from .rbac import Rbac
from .telemetry import Stats


@dataclass(frozen=True, slots=True)
class Router:
    """Always last: it owns the attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentage:
    """``envoy.type.v3.FractionalPercent``; ``denominator`` 100, 10,000 or 1,000,000."""

    numerator: int
    denominator: int = 100

    @property
    def share(self) -> float:
        return min(1.0, self.numerator / self.denominator)


ALWAYS = Percentage(numerator=100)
NEVER = Percentage(numerator=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultDelay:
    """``fixed_delay`` in seconds; ``None``: as the header ``x-envoy-fault-delay-request`` says."""

    fixed_delay: float | None
    percentage: Percentage = NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultAbort:
    """By one of both statuses; neither: as ``x-envoy-fault-abort-[grpc-]request`` says."""

    http_status: int | None = None
    grpc_status: int | None = None
    percentage: Percentage = NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """``envoy.extensions.filters.http.fault.v3.HTTPFault`` (gRFC A33).

    ``max_active_faults`` ``None`` is no limit. Requests that ``headers`` do not match, or that go
    to another cluster than ``upstream_cluster``, are left alone.
    """

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None
    max_active_faults: int | None = None
    headers: tuple[HeaderMatcher, ...] = ()
    upstream_cluster: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucket:
    """``fill_interval`` in seconds."""

    max_tokens: int
    tokens_per_fill: int = 1
    fill_interval: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDescriptor:
    """A bucket of its own for requests with exactly these entries; an entry without value ("")
    stands for any value, each with its own bucket."""

    entries: tuple[tuple[str, str], ...]
    token_bucket: TokenBucket


@dataclass(frozen=True, slots=True, kw_only=True)
class GenericKey:
    descriptor_value: str
    descriptor_key: str = "generic_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeader:
    header_name: str
    descriptor_key: str
    skip_if_absent: bool = False


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """The caller's address under ``remote_address``."""


@dataclass(frozen=True, slots=True)
class DestinationCluster:
    """The cluster that the route leads to, under ``destination_cluster``."""


@dataclass(frozen=True, slots=True)
class SourceCluster:
    """The caller's own service, under ``source_cluster``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderValueMatch:
    """One entry if the headers match (``expect_match``) or do not."""

    descriptor_value: str
    headers: tuple[HeaderMatcher, ...]
    expect_match: bool = True
    descriptor_key: str = "header_match"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryParameter:
    """A parameter of the query under ``descriptor_key``."""

    query_parameter_name: str
    descriptor_key: str
    skip_if_absent: bool = False


RateLimitAction = (
    GenericKey
    | RequestHeader
    | RemoteAddress
    | DestinationCluster
    | SourceCluster
    | HeaderValueMatch
    | QueryParameter
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """``envoy.config.route.v3.RateLimit``: the entries of one descriptor; where one of the actions
    has nothing to say, there is no descriptor."""

    actions: tuple[RateLimitAction, ...]
    stage: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRateLimit:
    """``envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit``.

    ``token_bucket`` ``None``: this place limits nothing. ``headers`` "off" or "draft_version_03"
    (``X-RateLimit-*``). ``rate_limits`` of the filter make the descriptors, else the route's.
    """

    stat_prefix: str = "local_rate_limit"
    token_bucket: TokenBucket | None = None
    filter_enabled: Percentage = NEVER
    filter_enforced: Percentage = NEVER
    status: int = 429
    descriptors: tuple[LocalDescriptor, ...] = ()
    rate_limits: tuple[RateLimit, ...] = ()
    headers: str = "off"
    rate_limited_as_resource_exhausted: bool = False
    always_consume_default_token_bucket: bool = True
    max_dynamic_descriptors: int = 20
    stage: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalRateLimit:
    """``envoy.extensions.filters.http.ratelimit.v3.RateLimit``: a service is asked (RLS).

    ``cluster`` is where the service is. In a place of its own "": but for ``domain`` and
    ``rate_limits``, all is as the listener's filter says (``RateLimitPerRoute``). ``rate_limits``
    of the per-route configuration win over those of the route.
    """

    domain: str
    cluster: str
    timeout: float = 0.02
    failure_mode_deny: bool = False
    status: int = 429
    status_on_error: int = 500
    headers: str = "off"
    rate_limited_as_resource_exhausted: bool = False
    stage: int = 0
    rate_limits: tuple[RateLimit, ...] = ()
    disable_x_envoy_ratelimited_header: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """``envoy.extensions.filters.http.cors.v3``: the policy (per route), or nothing (the filter).

    ``max_age`` and the lists as they go into the headers; ``forward_not_matching_preflights``
    unset is true.
    """

    allow_origins: tuple[StringMatcher, ...] = ()
    allow_methods: str = ""
    allow_headers: str = ""
    expose_headers: str = ""
    max_age: str = ""
    allow_credentials: bool | None = None
    filter_enabled: Percentage = ALWAYS
    shadow_enabled: Percentage = NEVER
    forward_not_matching_preflights: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveConcurrency:
    """``envoy.extensions.filters.http.adaptive_concurrency.v3``: the gradient controller.

    Times in seconds, percentages whole numbers. ``max_loop_lag`` is meshlib's own: a server whose
    event loop is late by more than so many seconds sheds load as well; ``None`` is off.
    """

    enabled: bool = True
    sample_aggregate_percentile: float = 50.0
    max_concurrency_limit: int = 1000
    concurrency_update_interval: float = 0.1
    min_rtt_interval: float = 60.0
    min_rtt_request_count: int = 50
    min_rtt_jitter: float = 15.0
    min_concurrency: int = 3
    min_rtt_buffer: float = 25.0
    fixed_min_rtt: float | None = None
    status: int = 503
    max_loop_lag: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionControl:
    """``envoy.extensions.filters.http.admission_control.v3``.

    ``success_statuses`` half-open ranges of HTTP statuses, ``success_grpc_statuses`` numbers;
    ``sampling_window`` in seconds, thresholds and probabilities in per cent.
    """

    enabled: bool = True
    success_statuses: tuple[tuple[int, int], ...] = ((100, 500),)
    success_grpc_statuses: tuple[int, ...] = (0, 1, 2, 3, 5, 6, 7, 9, 11, 12, 16)
    sampling_window: float = 30.0
    aggression: float = 1.0
    success_rate_threshold: float = 95.0
    rps_threshold: int = 0
    max_rejection_probability: float = 80.0


FilterConfig = (
    Router
    | Fault
    | LocalRateLimit
    | GlobalRateLimit
    | Cors
    | AdaptiveConcurrency
    | AdmissionControl
    | Rbac
    | JwtAuthn
    | ExtAuthz
    | Stats
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterDiscovery:
    """The configuration comes by ECDS, under the filter's own name, and is one of ``types``.

    ``default_config`` holds where there is none; with ``apply_default_config_without_warming`` the
    listener does not even wait for one.
    """

    types: tuple[type[FilterConfig], ...]
    default_config: FilterConfig | None = None
    apply_default_config_without_warming: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionConfig:
    """``envoy.config.core.v3.TypedExtensionConfig``: a configuration that filters discover."""

    name: str
    config: FilterConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFilter:
    """Where the ``config`` is to be discovered and there is none, calls are refused."""

    name: str
    config: FilterConfig | FilterDiscovery
    is_optional: bool = False
    disabled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterOverride:
    """One entry of ``typed_per_filter_config``; ``name`` is the filter's in the listener.

    ``config`` ``None`` changes only whether the filter is on (``FilterConfig.disabled``).
    """

    name: str
    config: FilterConfig | None = None
    disabled: bool = False
    is_optional: bool = False


Overrides = tuple[FilterOverride, ...]
"""Sorted by name."""

ROUTER = HttpFilter(name="envoy.filters.http.router", config=Router())
FAULT = HttpFilter(name="envoy.filters.http.fault", config=Fault())
CORS = HttpFilter(name="envoy.filters.http.cors", config=Cors())
