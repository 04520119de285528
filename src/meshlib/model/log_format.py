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

HEADERS = ("REQ", "REQ_WITHOUT_QUERY", "RESP", "TRAILER")
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
    DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_PORT DURATION GRPC_STATUS_NUMBER
    HOSTNAME PROTOCOL REQUESTED_SERVER_NAME REQUEST_DURATION REQUEST_TX_DURATION RESPONSE_CODE
    RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_TX_DURATION ROUTE_NAME STREAM_ID
    TRACE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_HOST UPSTREAM_LOCAL_ADDRESS
    UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_TRANSPORT_FAILURE_REASON
    VIRTUAL_CLUSTER_NAME
"""

SUPPORTED = (
    dict.fromkeys(_BARE.split(), NEVER)
    | dict.fromkeys((*HEADERS, *METADATA), REQUIRED)
    | dict.fromkeys(("CEL", "COMMON_DURATION", "ENVIRONMENT", "METADATA"), REQUIRED)
    | dict.fromkeys(("GRPC_STATUS", "RESPONSE_CODE_DETAILS", "START_TIME"), OPTIONAL)
)
"""The operators that are filled in, and whether each takes an argument."""

SHORTENED = frozenset({*HEADERS, *METADATA, "CEL", "ENVIRONMENT", "METADATA"})

SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})
"""Whoever reads the value of one of these may be taken for its owner."""
_NAMED = re.compile("[\"'.]([a-z-]+)")


def parse_log_format(text: str) -> tuple[str | Operator, ...]:
    """The plain pieces and the operators of a text, in order; no two plain ones side by side.

    Raises :class:`FormatError` for what is malformed or not supported.
    """
    return parts_of(text, _operator)


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
    made = judged(SUPPORTED, SHORTENED, name, argument, length)
    if not _is_taken(name, made.argument):
        raise untaken(name, made.argument)
    return made


def _is_taken(name: str, argument: str) -> bool:
    match name:
        case "REQ" | "REQ_WITHOUT_QUERY" | "RESP" | "TRAILER":
            return are_header_names(argument)
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
]
