"""What is to be told of calls: access logs, traces and metrics, as configuration has it.

``envoy.config.accesslog.v3``, ``HttpConnectionManager.Tracing``, and Istio's ``istio.stats``.
"""

from dataclasses import dataclass
from enum import Enum

from .matcher import HeaderMatcher, RuntimeFraction
from .metadata import Struct

# --- access logs ---


class Comparison(Enum):
    EQ = "EQ"
    GE = "GE"
    LE = "LE"
    NE = "NE"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCodeFilter:
    """``runtime_key`` may stand in for ``value``."""

    comparison: Comparison
    value: int
    runtime_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationFilter:
    """``value`` in milliseconds, as Envoy has it."""

    comparison: Comparison
    value: int
    runtime_key: str = ""


@dataclass(frozen=True, slots=True)
class NotHealthCheckFilter:
    """Calls that are no health checks."""


@dataclass(frozen=True, slots=True)
class TraceableFilter:
    """Calls that are traced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFilter:
    """A share of the calls; the same ones everywhere, by ``x-request-id``, unless independent."""

    fraction: RuntimeFraction
    use_independent_randomness: bool = False


@dataclass(frozen=True, slots=True)
class HeaderFilter:
    header: HeaderMatcher


RESPONSE_FLAGS = (
    *("LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE"),
    *("DC", "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF"),
    *("DO", "DR", "UDO"),
)
"""All that Envoy knows, in its order."""

NEVER_SET = frozenset({"LH", "SI", "IH", "UMSDR", "RFCF", "UPE", "DF", "DR", "UDO"})
"""Those that no call of a member has: what they tell of cannot happen, or has another flag."""


@dataclass(frozen=True, slots=True)
class ResponseFlagFilter:
    """Calls with any of these flags; with any at all where none is named."""

    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcStatusFilter:
    statuses: tuple[int, ...]
    exclude: bool = False


@dataclass(frozen=True, slots=True)
class ExpressionFilter:
    """``envoy.access_loggers.extension_filters.cel``: calls of which a CEL expression is true."""

    expression: str


@dataclass(frozen=True, slots=True)
class AndFilter:
    filters: tuple["AccessLogFilter", ...]


@dataclass(frozen=True, slots=True)
class OrFilter:
    filters: tuple["AccessLogFilter", ...]


AccessLogFilter = (
    StatusCodeFilter
    | DurationFilter
    | NotHealthCheckFilter
    | TraceableFilter
    | RuntimeFilter
    | HeaderFilter
    | ResponseFlagFilter
    | GrpcStatusFilter
    | ExpressionFilter
    | AndFilter
    | OrFilter
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAccessLog:
    """Lines for a file; ``/dev/stdout`` and ``/dev/stderr`` are the streams of the program.

    ``text`` or ``json`` is the format, with ``%OPERATORS%``; neither: Envoy's default text. Keys
    of ``json`` are written in order of their names, as Envoy sorts them.
    """

    path: str
    text: str = ""
    json: Struct | None = None
    omit_empty_values: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTelemetryAccessLog:
    """``envoy.access_loggers.open_telemetry``: log records, by OTLP to a cluster of the mesh."""

    cluster: str
    log_name: str = ""
    body: str = ""
    attributes: Struct | None = None


AccessLogSink = FileAccessLog | OpenTelemetryAccessLog


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLog:
    """``name`` is the extension's, by which some clients tell logs apart."""

    name: str
    config: AccessLogSink
    filter: AccessLogFilter | None = None


# --- traces ---


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteralTag:
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentTag:
    name: str
    default_value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderTag:
    """A header of the request; nothing is said where it is missing and there is no default."""

    name: str
    default_value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatterTag:
    """A text with ``%OPERATORS%`` of access logs (``CustomTag.value``)."""

    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomTag:
    """An attribute of every span."""

    tag: str
    source: LiteralTag | EnvironmentTag | HeaderTag | FormatterTag


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTelemetryTracer:
    """``envoy.config.trace.v3.OpenTelemetryConfig``: spans, by OTLP to a cluster of the mesh.

    With ``uri`` by HTTP, else by gRPC.
    """

    cluster: str
    service_name: str = ""
    uri: str = ""
    timeout: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Percentages, 0 to 100. ``random_sampling`` is of calls that come without a decision,
    ``client_sampling`` of those that ask for it by ``x-client-trace-id``; ``overall_sampling``
    bounds both. ``tracer`` ``None``: spans go where the program itself sends them.

    ``spawn_upstream_span``: attempts have spans of their own, beside that of the call.
    """

    client_sampling: float = 100.0
    random_sampling: float = 100.0
    overall_sampling: float = 100.0
    verbose: bool = False
    max_path_tag_length: int = 256
    custom_tags: tuple[CustomTag, ...] = ()
    tracer: OpenTelemetryTracer | None = None
    spawn_upstream_span: bool = False


# --- metrics ---

STANDARD_METRICS = (
    *("requests_total", "request_duration_milliseconds", "request_bytes", "response_bytes"),
    *("request_messages_total", "response_messages_total"),
)
"""Istio's standard metrics of calls, by their short names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricOverride:
    """What is different of one metric; of all where ``name`` is "".

    ``dimensions``: labels and the CEL expressions of their values, added or replaced.
    """

    name: str = ""
    drop: bool = False
    dimensions: tuple[tuple[str, str], ...] = ()
    tags_to_remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """``stats.PluginConfig`` of Istio's filter ``istio.stats``: what is counted of calls.

    ``None`` of these in a listener: the standard metrics, nothing changed.
    """

    metrics: tuple[MetricOverride, ...] = ()
    disable_host_header_fallback: bool = False
    reporting_interval: float = 5.0
