"""``extensionProviders`` of the MeshConfig: services that CUSTOM policies ask."""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from .piece import Count, Duration, Flaw, Piece, Port, Text

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


class ExtensionProvider(Piece, frozen=True):
    """The kinds of tracing and logging are another floor's, and not read yet."""

    name: Text
    envoy_ext_authz_grpc: EnvoyExtAuthzGrpc | None = None
    envoy_ext_authz_http: EnvoyExtAuthzHttp | None = None
    NOT_YET = frozenset(
        {"zipkin", "lightstep", "datadog", "stackdriver", "opencensus", "skywalking"}
        | {"opentelemetry", "prometheus", "envoyFileAccessLog", "envoyHttpAls", "envoyTcpAls"}
        | {"envoyOtelAls", "sds"}
    )

    def rules(self) -> Iterator[Flaw]:
        if (self.envoy_ext_authz_grpc is None) is (self.envoy_ext_authz_http is None):
            yield Flaw((), "exactly one of envoyExtAuthzGrpc and envoyExtAuthzHttp is needed")
