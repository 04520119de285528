"""``envoy.extensions.filters.http.ext_authz.v3`` ⇄ :class:`ExtAuthz`.

What is not understood is an error: to leave it out could let somebody in.
"""

from collections.abc import Iterable

from ...model import StringMatcher
from ...model.authn import ExtAuthz, GrpcAuthorization, HttpAuthorization, RequestBody
from .metadata_matcher import decode_metadata_matcher, encode_metadata_matcher
from .status import decode_status, encode_status
from .string_matcher import decode_string, encode_string
from .wire import Fields, FilterCodec, Reader, duration

Pairs = tuple[tuple[str, str], ...]
Service = GrpcAuthorization | HttpAuthorization

TIMEOUT = 0.2
FORBIDDEN = 403
WITHOUT_EFFECT = (
    "charge_cluster_response_stats",
    "emit_filter_state_stats",
    "encode_raw_headers",
    "transport_api_version",
    "validate_mutations",
)
"""Of counts that are not kept, and of what is done anyway."""
DROPPED = ("clear_route_cache", "bootstrap_metadata_labels_key")


def _encode(config: ExtAuthz) -> Fields:
    service, body = config.service, config.with_request_body
    matcher = config.filter_enabled_metadata
    return {
        **({} if service is None else _encode_service(service, config.timeout)),
        "transport_api_version": "V3",
        "failure_mode_allow": config.failure_mode_allow,
        "status_on_error": encode_status(config.status_on_error),
        "with_request_body": None if body is None else _encode_body(body),
        "filter_enabled_metadata": None if matcher is None else encode_metadata_matcher(matcher),
        "allowed_headers": _encode_list(config.allowed_headers),
        "disallowed_headers": _encode_list(config.disallowed_headers),
        "include_peer_certificate": config.include_peer_certificate,
        "stat_prefix": config.stat_prefix,
    }


def _decode(reader: Reader) -> ExtAuthz:
    before = len(reader.report.readers)
    service, timeout, allowed = _decode_service(reader)
    body = reader.optional_child("with_request_body")
    matcher = reader.optional_child("filter_enabled_metadata")
    made = ExtAuthz(
        service=service,
        timeout=timeout,
        failure_mode_allow=reader.flag("failure_mode_allow"),
        status_on_error=decode_status(reader, "status_on_error", FORBIDDEN),
        with_request_body=None if body is None else _decode_body(body),
        filter_enabled_metadata=None if matcher is None else decode_metadata_matcher(matcher),
        allowed_headers=_decode_list(reader, "allowed_headers") or allowed,
        disallowed_headers=_decode_list(reader, "disallowed_headers"),
        include_peer_certificate=reader.flag("include_peer_certificate"),
        stat_prefix=reader.text("stat_prefix"),
    )
    reader.skip(*WITHOUT_EFFECT)
    for field in DROPPED:
        if reader.has(field):
            reader.taken(field)
            reader.drop(field)
    for inner in (reader, *reader.report.readers[before:]):
        inner.refuse_unread()
    return made


# --- who is asked ---


def _encode_service(service: Service, timeout: float) -> Fields:
    if isinstance(service, GrpcAuthorization):
        where = {"cluster_name": service.cluster, "authority": service.authority}
        return {"grpc_service": {"envoy_grpc": where, "timeout": duration(timeout)}}
    return {
        "http_service": {
            "server_uri": {
                "uri": service.uri,
                "cluster": service.cluster,
                "timeout": duration(timeout),
            },
            "path_prefix": service.path_prefix,
            "authorization_request": {
                "headers_to_add": [
                    {"key": name, "value": value} for name, value in service.headers_to_add
                ]
            },
            "authorization_response": {
                name: _encode_list(getattr(service, name)) for name in ALLOWED
            },
        }
    }


ALLOWED = (
    "allowed_upstream_headers",
    "allowed_client_headers",
    "allowed_client_headers_on_success",
)


def _decode_service(reader: Reader) -> tuple[Service | None, float, tuple[StringMatcher, ...]]:
    match reader.which("grpc_service", "http_service"):
        case "grpc_service":
            return (*_decode_grpc(reader.child("grpc_service")), ())
        case "http_service":
            return _decode_http(reader.child("http_service"))
        case _:
            reader.problem("neither grpc_service nor http_service")
            return None, TIMEOUT, ()


def _decode_grpc(reader: Reader) -> tuple[Service | None, float]:
    timeout = reader.seconds("timeout", TIMEOUT, positive=True)
    if not reader.has("envoy_grpc"):
        reader.refuse("google_grpc", otherwise="no cluster to ask")
        return None, timeout
    where = reader.child("envoy_grpc")
    name = where.text("cluster_name", required=True)
    return GrpcAuthorization(cluster=name, authority=where.text("authority")), timeout


def _decode_http(
    reader: Reader,
) -> tuple[HttpAuthorization, float, tuple[StringMatcher, ...]]:
    where = reader.child("server_uri")
    asked, answered = reader.child("authorization_request"), reader.child("authorization_response")
    prefix = reader.text("path_prefix")
    if prefix and not prefix.startswith("/"):
        reader.problem("must begin with /", "path_prefix")
    service = HttpAuthorization(
        cluster=where.text("cluster", required=True),
        uri=where.text("uri", required=True),
        path_prefix=prefix,
        headers_to_add=tuple(
            (one.text("key", required=True).lower(), one.text("value"))
            for one in asked.children("headers_to_add")
        ),
        **{name: _decode_list(answered, name) for name in ALLOWED},
    )
    timeout = where.seconds("timeout", TIMEOUT, positive=True)
    return service, timeout, _decode_list(asked, "allowed_headers")


# --- what it is shown ---


def _encode_body(body: RequestBody) -> Fields:
    return {
        "max_request_bytes": body.max_request_bytes,
        "allow_partial_message": body.allow_partial_message,
        "pack_as_bytes": body.pack_as_bytes,
    }


def _decode_body(reader: Reader) -> RequestBody:
    return RequestBody(
        max_request_bytes=reader.number("max_request_bytes", low=1),
        allow_partial_message=reader.flag("allow_partial_message"),
        pack_as_bytes=reader.flag("pack_as_bytes"),
    )


def _encode_list(matchers: Iterable[StringMatcher]) -> Fields | None:
    found = [encode_string(one) for one in matchers]
    return {"patterns": found} if found else None


def _decode_list(reader: Reader, field: str) -> tuple[StringMatcher, ...]:
    return tuple(decode_string(one) for one in reader.child(field).children("patterns"))


# --- for a place of its own ---


def _encode_per_route(config: ExtAuthz) -> Fields:
    if not config.enabled:
        return {"disabled": True}
    return {"check_settings": {"context_extensions": dict(config.context_extensions)}}


def _decode_per_route(reader: Reader) -> ExtAuthz:
    before = len(reader.report.readers)
    made = ExtAuthz(enabled=False)
    match reader.which("disabled", "check_settings"):
        case "disabled":
            if not reader.flag("disabled"):
                reader.problem("must be true", "disabled")
        case "check_settings":
            said = reader.child("check_settings").entries("context_extensions")
            made = ExtAuthz(context_extensions=tuple(sorted(said.items())))
        case _:
            reader.problem("neither disabled nor check_settings")
    for inner in (reader, *reader.report.readers[before:]):
        inner.refuse_unread()
    return made


EXT_AUTHZ = FilterCodec("envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", _encode, _decode)
EXT_AUTHZ_PER_ROUTE = FilterCodec(
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
    _encode_per_route,
    _decode_per_route,
)
