"""``meshlib.telemetry.setup()``: OpenTelemetry for a program that has not set it up itself."""

import atexit
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from socket import gethostname
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, Problem
from .metrics.otlp import MetricsExport

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

WHERE = "meshlib.telemetry.setup"
GRPC = "grpc"
HTTP = "http/protobuf"
PACKAGES = {
    GRPC: "opentelemetry-exporter-otlp-proto-grpc",
    HTTP: "opentelemetry-exporter-otlp-proto-http",
}
ROOMS = {
    GRPC: "opentelemetry.exporter.otlp.proto.grpc",
    HTTP: "opentelemetry.exporter.otlp.proto.http",
}
MODULES = {"trace": "trace_exporter", "metric": "metric_exporter", "log": "_log_exporter"}
PATHS = {"trace": "/v1/traces", "metric": "/v1/metrics", "log": "/v1/logs"}
CLASSES = {"trace": "OTLPSpanExporter", "metric": "OTLPMetricExporter", "log": "OTLPLogExporter"}
SIGNALS = {"trace": "TRACES", "metric": "METRICS", "log": "LOGS"}


@dataclass(frozen=True, slots=True)
class Exports:
    """What :func:`setup` did: which it is of ours that are exported by OTLP.

    ``logs`` are access logs that a ``Telemetry`` or an xDS server wants to go there.
    """

    traces: bool = False
    metrics: bool = False
    logs: bool = False


_lock = threading.Lock()
_done: Exports | None = None


def setup(
    service_name: str | None = None,
    endpoint: str | None = None,
    *,
    namespace: str | None = None,
    version: str | None = None,
    protocol: str | None = None,
    headers: dict[str, str] | None = None,
    attributes: dict[str, str] | None = None,
) -> Exports:
    """Send traces, metrics and access logs of this process by OTLP, as ``OTEL_*`` variables say.

    What is given here counts more than the variables: ``OTEL_SERVICE_NAME``,
    ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_PROTOCOL`` (``grpc``, or
    ``http/protobuf``), ``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_RESOURCE_ATTRIBUTES``;
    ``OTEL_TRACES_SAMPLER`` samples, ``OTEL_TRACES_EXPORTER=none``, ``OTEL_METRICS_EXPORTER=none``
    and ``OTEL_LOGS_EXPORTER=none`` leave one of them out, ``OTEL_SDK_DISABLED=true`` everything.
    The service is the mesh's own (``MESHLIB_SERVICE``, ``_NAMESPACE``, ``_VERSION``) where nothing
    else is said. A provider that the program has set stays; a second call changes nothing.

    Raises :class:`ConfigError` where the exporter's package is missing, or refuses what is said.
    """
    names = {"service_name": service_name, "namespace": namespace, "version": version}
    _checked(
        {**names, "endpoint": endpoint, "protocol": protocol},
        {"headers": headers, "attributes": attributes},
    )
    global _done  # noqa: PLW0603 - OpenTelemetry's providers are global, too
    with _lock:
        if _done is None:
            if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
                _done = Exports()
            else:
                named = _named(service_name, namespace, version, attributes or {})
                asked = _Asked(endpoint, protocol, headers)
                _done = _set_up(named, asked)
        return _done


@dataclass(frozen=True, slots=True)
class _Asked:
    endpoint: str | None
    protocol: str | None
    headers: dict[str, str] | None

    def protocol_of(self, kind: str) -> str:
        variables = f"OTEL_EXPORTER_OTLP_{SIGNALS[kind]}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
        words = (("protocol", self.protocol), *((name, os.environ.get(name)) for name in variables))
        where, said = next(((where, word.strip()) for where, word in words if word), ("", GRPC))
        if said not in ROOMS:
            raise ConfigError(Problem(where, f"{said!r} is neither {GRPC!r} nor {HTTP!r}"))
        return said

    def exporter(self, kind: str) -> Any:
        """The exporter, which knows the other variables by itself."""
        protocol = self.protocol_of(kind)
        try:
            room = import_module(f"{ROOMS[protocol]}.{MODULES[kind]}")
        except ImportError as missing:
            words = f"{PACKAGES[protocol]} is not installed; pip install {PACKAGES[protocol]}"
            raise ConfigError(Problem(WHERE, words)) from missing
        given: dict[str, Any] = {}
        if self.endpoint is not None:
            of_http = protocol == HTTP
            given["endpoint"] = (
                self.endpoint.rstrip("/") + PATHS[kind] if of_http else self.endpoint
            )
        if self.headers is not None:
            given["headers"] = self.headers
        return _taken(getattr(room, CLASSES[kind]), **given)


def _taken(make: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What OpenTelemetry makes of it; whatever it says to the contrary, it has been told wrong."""
    try:
        return make(*given, **named)
    except Exception as refused:
        words = f"OpenTelemetry refuses what is said here or by OTEL_… variables: {refused}"
        raise ConfigError(Problem(WHERE, words)) from refused


def _checked(texts: Mapping[str, object], mappings: Mapping[str, object]) -> None:
    for name, said in texts.items():
        if not isinstance(said, str | None):
            raise ConfigError(Problem(f"{WHERE}: {name}", f"{said!r:.200} is not a text"))
    for name, said in mappings.items():
        if said is None:
            continue
        pairs = said.items() if isinstance(said, Mapping) else [(said, None)]
        for pair in pairs:
            if not all(isinstance(each, str) for each in pair):
                what = f"{said!r:.200} is not a mapping of texts to texts"
                raise ConfigError(Problem(f"{WHERE}: {name}", what))


def _named(
    service: str | None, namespace: str | None, version: str | None, more: dict[str, str]
) -> dict[str, str]:
    """What the program is called; variables of OpenTelemetry's count more than the mesh's."""
    said = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    known = {pair.partition("=")[0].strip() for pair in said.split(",")}
    if os.environ.get("OTEL_SERVICE_NAME"):
        known.add("service.name")
    own = {
        "service.name": (service, "MESHLIB_SERVICE"),
        "service.namespace": (namespace, "MESHLIB_NAMESPACE"),
        "service.version": (version, "MESHLIB_VERSION"),
    }
    made = dict(more)
    for name, (given, variable) in own.items():
        value = given or ("" if name in known else os.environ.get(variable, ""))
        if value:
            made[name] = value
    return made


def _is_wanted(kind: str) -> bool:
    variable = f"OTEL_{SIGNALS[kind]}_EXPORTER"
    said = os.environ.get(variable, "").strip() or "otlp"
    if said not in {"otlp", "none"}:
        more = "for others, set up OpenTelemetry in the program, and the mesh uses that"
        raise ConfigError(Problem(variable, f"{said!r} is neither 'otlp' nor 'none'; {more}"))
    return said == "otlp"


def refused() -> ConfigError | None:
    """What :func:`setup` would not take of the environment."""
    try:
        for kind in SIGNALS:
            if _is_wanted(kind):
                _Asked(None, None, None).protocol_of(kind)
    except ConfigError as error:
        return error
    return None


def _set_up(named: dict[str, str], asked: _Asked) -> Exports:
    from opentelemetry import _logs, trace
    from opentelemetry.sdk.resources import Resource

    from .access_log.open_telemetry import are_taken

    own: dict[str, str | int] = {"host.name": gethostname(), "process.pid": os.getpid(), **named}
    resource = _taken(Resource.create, dict(own))
    traces = _is_wanted("trace") and isinstance(
        trace.get_tracer_provider(), trace.ProxyTracerProvider
    )
    metrics = _is_wanted("metric")
    logs = _is_wanted("log") and not are_taken()
    spans_go: Any = asked.exporter("trace") if traces else None
    counts_go: Any = asked.exporter("metric") if metrics else None
    records_go: Any = asked.exporter("log") if logs else None
    spans_by = _taken(_provider, resource, spans_go) if traces else None
    records_by = _taken(_log_provider, resource, records_go) if logs else None
    # Nothing has gone wrong: only now is anything begun.
    if spans_by is not None:
        trace.set_tracer_provider(spans_by)
    if metrics:
        export = MetricsExport(counts_go, resource=resource)
        export.start()
        atexit.register(export.close)
    if records_by is not None:
        _logs.set_logger_provider(records_by)
    return Exports(traces=traces, metrics=metrics, logs=logs)


def _provider(resource: "Resource", exporter: Any) -> "TracerProvider":
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _log_provider(resource: "Resource", exporter: Any) -> "LoggerProvider":
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    return provider
