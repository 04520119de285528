"""``extensionProviders`` of the MeshConfig: whom CUSTOM policies ask, and who is told of calls."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from .piece import Count, Duration, Flaw, Piece, Port, Text
from .telemetry_provider import EnvoyFileAccessLog, EnvoyOtelAls, OpenTelemetry, Prometheus

Status = Annotated[str, msgspec.Meta(min_length=3, max_length=3)]


class IncludeRequestBody(Piece, frozen=True):
    max_request_bytes: Count = 0
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


class ExtAuthzProvider(Piece, frozen=True):
    """``timeout`` unset is 600 s in Istio; here 200 ms, as Envoy has it, so that calls end."""

    service: Text
    port: Port
    timeout: Duration | None = None
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: Status | None = None
    include_request_body_in_check: IncludeRequestBody | None = None

    def rules(self) -> Iterator[Flaw]:
        status = self.status_on_error
        if status is not None and not (status.isdecimal() and 400 <= int(status) <= 599):
            yield Flaw(("statusOnError",), f"{status!r} is not a status from 400 to 599")


class EnvoyExtAuthzGrpc(ExtAuthzProvider, frozen=True):
    pass


class EnvoyExtAuthzHttp(ExtAuthzProvider, frozen=True):
    path_prefix: str = ""
    include_request_headers_in_check: tuple[str, ...] = ()
    include_headers_in_check: tuple[str, ...] = ()
    include_additional_headers_in_check: dict[str, str] = msgspec.field(default_factory=dict)
    headers_to_upstream_on_allow: tuple[str, ...] = ()
    headers_to_downstream_on_deny: tuple[str, ...] = ()
    headers_to_downstream_on_allow: tuple[str, ...] = ()


KINDS = (
    *("envoy_ext_authz_grpc", "envoy_ext_authz_http", "opentelemetry", "prometheus"),
    *("envoy_file_access_log", "envoy_otel_als", "envoy_http_als", "envoy_tcp_als", "zipkin"),
    *("lightstep", "datadog", "stackdriver", "opencensus", "skywalking"),
)
TRACERS = ("zipkin", "lightstep", "datadog", "stackdriver", "opencensus", "skywalking")
"""Kinds whose spans are not made here."""
LOGGERS = ("envoy_http_als", "envoy_tcp_als", "stackdriver")
"""Kinds whose logs are not written here."""
Opaque = dict[str, Any]
"""Of a kind that nothing here speaks to: accepted, and told to have no effect."""


class ExtensionProvider(Piece, frozen=True):
    name: Text
    envoy_ext_authz_grpc: EnvoyExtAuthzGrpc | None = None
    envoy_ext_authz_http: EnvoyExtAuthzHttp | None = None
    opentelemetry: OpenTelemetry | None = None
    prometheus: Prometheus | None = None
    envoy_file_access_log: EnvoyFileAccessLog | None = None
    envoy_otel_als: EnvoyOtelAls | None = None
    envoy_http_als: Opaque | None = None
    envoy_tcp_als: Opaque | None = None
    zipkin: Opaque | None = None
    lightstep: Opaque | None = None
    datadog: Opaque | None = None
    stackdriver: Opaque | None = None
    opencensus: Opaque | None = None
    skywalking: Opaque | None = None
    NOT_YET = frozenset({"sds"})

    @property
    def authorizer(self) -> ExtAuthzProvider | None:
        return self.envoy_ext_authz_grpc or self.envoy_ext_authz_http

    @property
    def kind(self) -> str:
        """Which of them it is, as a name of a field."""
        return next((kind for kind in KINDS if getattr(self, kind) is not None), "")

    def rules(self) -> Iterator[Flaw]:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            yield Flaw((), "exactly one kind of provider is needed")
