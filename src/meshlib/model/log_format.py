"""Access-log formats as Envoy's configuration writes them: text, or JSON as a struct."""

import re
from collections.abc import Iterator

from .format import (
    NEVER,
    OPTIONAL,
    REQUIRED,
    FormatError,
    Operator,
    are_header_names,
    is_time,
    judged,
    parts_of,
    untaken,
)
from .metadata import Struct, Value

ENVOY_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" '
    '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)
"""What Envoy writes where no format is given."""

ISTIO_FIELDS = (
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("route_name", "%ROUTE_NAME%"),
)
"""What Istio's default lines tell, in the order of its text."""

ISTIO_JSON = Struct(tuple(sorted(ISTIO_FIELDS)))

ISTIO_FORMAT = (
    "[{start_time}] "
    '"{method} {path} {protocol}" {response_code} {response_flags} {response_code_details} '
    "{connection_termination_details} "
    '"{upstream_transport_failure_reason}" {bytes_received} {bytes_sent} {duration} '
    '{upstream_service_time} "{x_forwarded_for}" "{user_agent}" "{request_id}" "{authority}" '
    '"{upstream_host}" {upstream_cluster} {upstream_local_address} {downstream_local_address} '
    "{downstream_remote_address} {requested_server_name} {route_name}\n"
).format_map(dict(ISTIO_FIELDS))

HEADERS = (
    *("REQ", "REQ_WITHOUT_QUERY", "RESP", "TRAILER"),
    *("REQUEST_HEADER", "RESPONSE_HEADER", "RESPONSE_TRAILER"),
)
METADATA = ("CLUSTER_METADATA", "DYNAMIC_METADATA", "UPSTREAM_METADATA")
METADATA_KINDS = ("CLUSTER", "ROUTE", "UPSTREAM_HOST")
GRPC_FORMATS = ("", "CAMEL_STRING", "SNAKE_STRING", "NUMBER")

MOMENTS = ("DS_RX_BEG", "DS_RX_END", "US_TX_BEG", "US_TX_END", "US_RX_BEG", "US_RX_END")
"""What ``%COMMON_DURATION%`` may measure from and to; ``DS_TX_END`` is the call's end."""
PRECISIONS = ("ms", "us", "ns")

_BARE = """
    ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_SENT CONNECTION_TERMINATION_DETAILS
    DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_LOCAL_ADDRESS
    DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_PORT DOWNSTREAM_PEER_SERIAL
    DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS
    DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_VERSION DURATION
    GRPC_STATUS_NUMBER HOSTNAME PROTOCOL REQUESTED_SERVER_NAME REQUEST_DURATION REQUEST_TX_DURATION
    RESPONSE_CODE RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_TX_DURATION
    ROUTE_NAME STREAM_ID TRACE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_HOST
    UPSTREAM_LOCAL_ADDRESS UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS
    UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_TRANSPORT_FAILURE_REASON
    VIRTUAL_CLUSTER_NAME
"""

_UNFILLED = """
    BYTES_RETRANSMITTED CONNECTION_ID CUSTOM_FLAGS DOWNSTREAM_CX_RTT
    DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
    DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_DIRECT_LOCAL_ADDRESS
    DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_DIRECT_LOCAL_PORT DOWNSTREAM_HANDSHAKE_DURATION DOWNSTREAM_HEADER_BYTES_RECEIVED
    DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_LOCAL_CLOSE_REASON
    DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_IP_SAN
    DOWNSTREAM_LOCAL_OTHERNAME_SAN DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN
    DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1
    DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256 DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN
    DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_FINGERPRINT_256
    DOWNSTREAM_PEER_IP_SAN DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256
    DOWNSTREAM_PEER_ISSUER_SERIAL DOWNSTREAM_PEER_OTHERNAME_SAN DOWNSTREAM_TLS_CIPHER
    DOWNSTREAM_TLS_GROUP DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TRANSPORT_FAILURE_REASON
    DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_WIRE_BYTES_SENT FILTER_CHAIN_NAME LOCAL_REPLY_BODY
    PACKETS_RETRANSMITTED PATH QUERY_PARAMS REQUEST_HEADERS_BYTES RESPONSE_HEADERS_BYTES
    RESPONSE_TRAILERS_BYTES ROUNDTRIP_DURATION ROUTE_RESOLUTION_COUNT ROUTE_RESOLUTION_TIME_US
    SPAN_ID TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT UNIQUE_ID UPSTREAM_CONNECTION_ID
    UPSTREAM_CONNECTION_IDS_ATTEMPTED UPSTREAM_CONNECTION_POOL_READY_DURATION
    UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
    UPSTREAM_DETECTED_CLOSE_TYPE UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT
    UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME
    UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT
    UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
    UPSTREAM_LOCAL_CLOSE_REASON UPSTREAM_LOCAL_DNS_SAN UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_PORT
    UPSTREAM_LOCAL_URI_SAN UPSTREAM_PEER_CERT UPSTREAM_PEER_DNS_SAN UPSTREAM_PEER_IP_SAN
    UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN
    UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID UPSTREAM_SERVER_NAME UPSTREAM_TLS_CIPHER UPSTREAM_TLS_GROUP
    UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_WIRE_BYTES_RECEIVED
    UPSTREAM_WIRE_BYTES_SENT
"""
_STATE = ("FILTER_STATE", "UPSTREAM_FILTER_STATE", "QUERY_PARAM")
_TIMES = (
    *("DOWNSTREAM_PEER_CERT_V_END", "DOWNSTREAM_PEER_CERT_V_START", "UPSTREAM_PEER_CERT_V_END"),
    *("UPSTREAM_PEER_CERT_V_START", "EMIT_TIME", "EMIT_TIME_LOCAL", "START_TIME_LOCAL"),
)
UNFILLED = (
    dict.fromkeys(_UNFILLED.split(), NEVER)
    | dict.fromkeys(_STATE, REQUIRED)
    | dict.fromkeys(_TIMES, OPTIONAL)
)
"""The operators of Envoy's that have no value here: a line without one column is better than none,
or than a listener that is refused."""

SUPPORTED = (
    dict.fromkeys(_BARE.split(), NEVER)
    | dict.fromkeys((*HEADERS, *METADATA), REQUIRED)
    | dict.fromkeys(("CEL", "COMMON_DURATION", "ENVIRONMENT", "METADATA"), REQUIRED)
    | dict.fromkeys(("GRPC_STATUS", "RESPONSE_CODE_DETAILS", "START_TIME"), OPTIONAL)
)
"""The operators that are filled in, and whether each takes an argument."""

KNOWN = SUPPORTED | UNFILLED

SHORTENED = frozenset(
    {*HEADERS, *METADATA, *_STATE, "CEL", "ENVIRONMENT", "METADATA", "PATH", "QUERY_PARAMS"}
)

SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})
"""Whoever reads the value of one of these may be taken for its owner."""
_NAMED = re.compile("[\"'.]([a-z-]+)")


def parse_log_format(text: str) -> tuple[str | Operator, ...]:
    """The plain pieces and the operators of a text, in order; no two plain ones side by side.

    Raises :class:`FormatError` for what is malformed or not supported.
    """
    return parts_of(text, _operator)


def unfilled_in(text: str) -> tuple[str, ...]:
    """The operators of a valid format that never have a value here."""
    operators = (each for each in parse_log_format(text) if isinstance(each, Operator))
    return tuple(dict.fromkeys(each.name for each in operators if each.name in UNFILLED))


def texts_of(template: Value, path: str = "") -> Iterator[tuple[str, str]]:
    """Each text in a JSON format, and the path of its field."""
    match template:
        case str():
            yield path, template
        case Struct(fields):
            for name, each in fields:
                yield from texts_of(each, f"{path}.{name}" if path else name)
        case tuple():
            for index, each in enumerate(template):
                yield from texts_of(each, f"{path}[{index}]")
        case _:
            pass


def secrets_in(text: str) -> tuple[str, ...]:
    """The headers that this format shows and that are nobody else's business."""
    return tuple(
        name
        for each in parse_log_format(text)
        if isinstance(each, Operator)
        for name in _asked_by(each)
        if name in SECRET_HEADERS
    )


def _asked_by(operator: Operator) -> tuple[str, ...]:
    argument = operator.argument.lower()
    if operator.name == "CEL":
        return tuple(_NAMED.findall(argument))
    return tuple(argument.split("?")) if operator.name in HEADERS else ()


def _operator(name: str, argument: str | None, length: str | None) -> Operator:
    made = judged(KNOWN, SHORTENED, name, argument, length)
    if not _is_taken(name, made.argument):
        raise untaken(name, made.argument)
    return made


def _is_taken(name: str, argument: str) -> bool:
    if name in HEADERS:
        return are_header_names(argument)
    match name:
        case "DYNAMIC_METADATA" | "CLUSTER_METADATA" | "UPSTREAM_METADATA":
            return all(argument.split(":"))
        case "METADATA":
            kind, *path = argument.split(":")
            return kind in METADATA_KINDS and bool(path) and all(path)
        case "START_TIME":
            return is_time(argument)
        case "GRPC_STATUS":
            return argument in GRPC_FORMATS
        case "RESPONSE_CODE_DETAILS":
            return argument in ("", "ALLOW_WHITESPACES")
        case "COMMON_DURATION":
            return _is_span(*argument.split(":"))
        case _:
            return True


def _is_span(begin: str, end: str = "", precision: str = "ms", *more: str) -> bool:
    ends = (*MOMENTS, "DS_TX_END")
    return not more and begin in ends and end in ends and precision in PRECISIONS


__all__ = [
    "ENVOY_FORMAT",
    "ISTIO_FORMAT",
    "ISTIO_JSON",
    "FormatError",
    "Operator",
    "parse_log_format",
    "secrets_in",
    "texts_of",
    "unfilled_in",
]
