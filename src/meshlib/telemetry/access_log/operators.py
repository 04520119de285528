"""``%OPERATORS%`` of access logs, each compiled to what reads its value off a call."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from ...dataplane import CallEnded, Whereabouts
from ...dataplane.routing.formatting import (
    DEFAULT_TIME,
    OF_A_RECORD,
    Facts,
    TimeFormat,
    filler,
    metadata_value,
    plain,
)
from ...model import Metadata
from ...model.format import Operator
from ...model.log_format import UNFILLED
from ..attributes import answer_code, request_id
from ..expressions import attributes, compile_expression
from . import answers, times
from .addresses import ADDRESSES, upstream
from .headers import of_request, of_response, of_trailers
from .values import Read, as_json, nothing

SERVICE_TIME = "x-envoy-upstream-service-time"
TRACE_ID_DIGITS = 32
STRUCTURED = ("CLUSTER_METADATA", "DYNAMIC_METADATA", "METADATA", "UPSTREAM_METADATA")
"""Operators whose value may be any of JSON's, and not only a text or a whole number."""


def reader(operator: Operator, whereabouts: Whereabouts) -> Read:
    """Raises :class:`meshlib.ConfigError` for an expression that is none."""
    read = _reader(operator, whereabouts)
    length = operator.max_length
    return read if length is None else _cut(read, length)


def _cut(read: Read, length: int) -> Read:
    def cut(event: CallEnded) -> Any:
        value = read(event)
        return value[:length] if isinstance(value, str) else value

    return cut


def _reader(operator: Operator, whereabouts: Whereabouts) -> Read:
    make = MADE.get(operator.name)
    if make is not None:
        return make(operator, whereabouts)
    return OF_A_CALL.get(operator.name) or _filled(operator, whereabouts)


def _response_header(operator: Operator, _whereabouts: Whereabouts) -> Read:
    names = _names(operator)
    otherwise = times.service_time if SERVICE_TIME in names else nothing
    return of_response(names, otherwise)


def _request_header(operator: Operator, _whereabouts: Whereabouts) -> Read:
    names = _names(operator)
    return of_request(names, _made_id if "x-request-id" in names else nothing)


def _made_id(event: CallEnded) -> str | None:
    meter = event.record.request.meter
    return None if meter is None else meter.request_id or None


def _without_query(operator: Operator, _whereabouts: Whereabouts) -> Read:
    read = of_request(_names(operator))

    def path(event: CallEnded) -> str | None:
        found: str | None = read(event)
        return None if found is None else found.partition("?")[0]

    return path


def _trailer(operator: Operator, _whereabouts: Whereabouts) -> Read:
    return of_trailers(_names(operator))


def _names(operator: Operator) -> list[str]:
    return operator.argument.lower().split("?")


def _details(operator: Operator, _whereabouts: Whereabouts) -> Read:
    return answers.details if operator.argument else answers.details_in_one_word


def _grpc_status(operator: Operator, _whereabouts: Whereabouts) -> Read:
    return GRPC_STATUS[operator.argument]


def _start_time(operator: Operator, whereabouts: Whereabouts) -> Read:
    written = TimeFormat(operator.argument or DEFAULT_TIME)
    now, clock = whereabouts.wall_clock, whereabouts.clock
    return lambda event: written(now() - (clock() - event.record.started))


def _common_duration(operator: Operator, _whereabouts: Whereabouts) -> Read:
    begin, end, *unit = operator.argument.split(":")
    return times.span(times.MOMENTS[begin], times.MOMENTS[end], *(times.UNITS[one] for one in unit))


def _filled(operator: Operator, whereabouts: Whereabouts) -> Read:
    """What headers are filled in with, lines are, too."""
    fill = filler(operator, whereabouts)
    return lambda event: fill(Facts(event.record.sent or event.record.request, event.record))


def _expression(operator: Operator, _whereabouts: Whereabouts) -> Read:
    """Its value as a text, as Envoy prints it in lines of both kinds."""
    expression = compile_expression(operator.argument)

    def read(event: CallEnded) -> str | None:
        found = expression.value(attributes(event, expression.roots))
        if found is None or isinstance(found, str):
            return found
        if isinstance(found, bytes):
            return found.decode("utf-8", "replace")
        if isinstance(found, dict | list):
            # As Envoy has it: whoever wants the value of a header names it.
            return "CelMap value" if isinstance(found, dict) else "CelList value"
        return as_json(found) if isinstance(found, bool | int | float) else str(found)

    return read


def _metadata(operator: Operator, _whereabouts: Whereabouts) -> Read:
    kind, path = operator.name, operator.argument.split(":")
    if kind == "METADATA":
        kind, *path = path
    source = METADATA[kind]
    space, *keys = path
    return lambda event: plain(metadata_value(source(event), space, keys))


def _of_route(event: CallEnded) -> Metadata | None:
    route = event.record.route
    return None if route is None else route.config.metadata


def _of_cluster(event: CallEnded) -> Metadata | None:
    """Of the one chosen, whether the call came there or not."""
    destination = event.record.destination
    cluster = None if destination is None else destination.cluster
    return None if cluster is None else cluster.balance.config.metadata


def _of_endpoint(event: CallEnded) -> Metadata | None:
    endpoint = event.record.endpoint
    return None if endpoint is None else endpoint.config.metadata


def _noted(event: CallEnded) -> Metadata | None:
    return (event.record.sent or event.record.request).dynamic_metadata


METADATA: Mapping[str, Callable[[CallEnded], Metadata | None]] = {
    "ROUTE": _of_route,
    "CLUSTER": _of_cluster,
    "CLUSTER_METADATA": _of_cluster,
    "UPSTREAM_HOST": _of_endpoint,
    "UPSTREAM_METADATA": _of_endpoint,
    "DYNAMIC_METADATA": _noted,
}


def _meter(name: str) -> Read:
    count = attrgetter(name)

    def read(event: CallEnded) -> int:
        meter = event.record.request.meter
        return 0 if meter is None else count(meter)

    return read


def _attempts(event: CallEnded) -> int:
    """One was to begin as soon as the call came to its cluster."""
    record = event.record
    return 0 if record.cluster is None else max(1, record.attempts)


def _protocol(event: CallEnded) -> str:
    return "HTTP/2" if event.record.request.is_grpc else "HTTP/1.1"


def _upstream_protocol(event: CallEnded) -> str | None:
    return None if upstream(event) is None else _protocol(event)


def _trace_id(event: CallEnded) -> str | None:
    """Of the span of this call, or of whoever called."""
    meter = event.record.request.meter
    trace = None if meter is None else meter.trace
    told: int = getattr(trace, "trace_id", 0)
    if told:
        return f"{told:0{TRACE_ID_DIGITS}x}"
    parts = (event.record.request.header("traceparent") or "").split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == TRACE_ID_DIGITS else None


GRPC_STATUS: Mapping[str, Read] = {
    "": answers.grpc_camel,
    "CAMEL_STRING": answers.grpc_camel,
    "SNAKE_STRING": answers.grpc_snake,
    "NUMBER": answers.grpc_status,
}

OF_A_CALL: Mapping[str, Read] = {
    **ADDRESSES,
    **OF_A_RECORD,
    **times.DURATIONS,
    **dict.fromkeys(UNFILLED, nothing),
    "ACCESS_LOG_TYPE": lambda _: "DownstreamEnd",
    "BYTES_RECEIVED": _meter("request_bytes"),
    "BYTES_SENT": _meter("response_bytes"),
    "CONNECTION_TERMINATION_DETAILS": lambda e: e.record.request.connection.refusal or None,
    "DOWNSTREAM_PEER_SERIAL": lambda e: e.record.request.connection.peer.serial or None,
    "DOWNSTREAM_PEER_SUBJECT": lambda e: e.record.request.connection.peer.subject or None,
    "DOWNSTREAM_PEER_URI_SAN": lambda e: (
        ",".join(e.record.request.connection.peer.uri_sans) or None
    ),
    "DOWNSTREAM_TLS_VERSION": lambda e: e.record.request.connection.tls_version or None,
    "GRPC_STATUS_NUMBER": answers.grpc_status,
    "PROTOCOL": _protocol,
    "REQUESTED_SERVER_NAME": lambda e: e.record.request.connection.server_name or None,
    "RESPONSE_CODE": answer_code,
    "RESPONSE_FLAGS": answers.short_flags,
    "RESPONSE_FLAGS_LONG": answers.long_flags,
    "STREAM_ID": lambda e: request_id(e.record),
    "TRACE_ID": _trace_id,
    "UPSTREAM_CLUSTER_RAW": OF_A_RECORD["UPSTREAM_CLUSTER"],
    "UPSTREAM_LOCAL_ADDRESS": nothing,
    "UPSTREAM_PROTOCOL": _upstream_protocol,
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": _attempts,
    "UPSTREAM_TRANSPORT_FAILURE_REASON": answers.transport_failure,
}
"""The libraries keep to themselves which port of ours a connection has."""

MADE: Mapping[str, Callable[[Operator, Whereabouts], Read]] = {
    "CEL": _expression,
    "CLUSTER_METADATA": _metadata,
    "COMMON_DURATION": _common_duration,
    "DYNAMIC_METADATA": _metadata,
    "GRPC_STATUS": _grpc_status,
    "METADATA": _metadata,
    "REQ": _request_header,
    "REQUEST_HEADER": _request_header,
    "RESPONSE_HEADER": _response_header,
    "RESPONSE_TRAILER": _trailer,
    "REQ_WITHOUT_QUERY": _without_query,
    "RESP": _response_header,
    "RESPONSE_CODE_DETAILS": _details,
    "START_TIME": _start_time,
    "TRAILER": _trailer,
    "UPSTREAM_METADATA": _metadata,
}
