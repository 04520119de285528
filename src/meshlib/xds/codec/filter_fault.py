"""``envoy.extensions.filters.http.fault.v3.HTTPFault`` ⇄ :class:`Fault` (gRFC A33)."""

from ...model import NEVER, Fault, FaultAbort, FaultDelay
from .matcher import decode_header, encode_header
from .runtime import decode_percentage, encode_percentage
from .wire import Fields, FilterCodec, Reader, duration, wrapped

MAX_GRPC_STATUS = 16


def _encode(fault: Fault) -> Fields:
    return {
        "delay": None if fault.delay is None else _encode_delay(fault.delay),
        "abort": None if fault.abort is None else _encode_abort(fault.abort),
        "max_active_faults": wrapped(fault.max_active_faults),
        "headers": [encode_header(header) for header in fault.headers],
        "upstream_cluster": fault.upstream_cluster,
    }


def _decode(reader: Reader) -> Fault:
    return Fault(
        delay=_decode_delay(reader),
        abort=_decode_abort(reader),
        max_active_faults=reader.optional_number("max_active_faults"),
        headers=tuple(map(decode_header, reader.children("headers"))),
        upstream_cluster=reader.text("upstream_cluster"),
    )


def _encode_delay(delay: FaultDelay) -> Fields:
    fixed = duration(delay.fixed_delay)
    kind: Fields = {"header_delay": {}} if fixed is None else {"fixed_delay": fixed}
    return {**kind, "percentage": encode_percentage(delay.percentage)}


def _decode_delay(fault: Reader) -> FaultDelay | None:
    reader = fault.optional_child("delay")
    if reader is None:
        return None
    if not reader.which("fixed_delay", "header_delay"):
        reader.problem("neither fixed_delay nor header_delay")
    reader.skip("header_delay")
    return FaultDelay(
        fixed_delay=reader.optional_seconds("fixed_delay", positive=True),
        percentage=decode_percentage(reader, "percentage", NEVER),
    )


def _encode_abort(abort: FaultAbort) -> Fields:
    kind: Fields = {"header_abort": {}}
    if abort.http_status is not None:
        kind = {"http_status": abort.http_status}
    elif abort.grpc_status is not None:
        kind = {"grpc_status": abort.grpc_status}
    return {**kind, "percentage": encode_percentage(abort.percentage)}


def _decode_abort(fault: Reader) -> FaultAbort | None:
    reader = fault.optional_child("abort")
    if reader is None:
        return None
    http = grpc = None
    match reader.which("http_status", "grpc_status", "header_abort"):
        case "http_status":
            http = reader.number("http_status", low=200, high=599)
        case "grpc_status":
            grpc = reader.number("grpc_status", high=MAX_GRPC_STATUS)
        case "header_abort":
            reader.skip("header_abort")
        case _:
            reader.problem("none of http_status, grpc_status and header_abort")
    percentage = decode_percentage(reader, "percentage", NEVER)
    return FaultAbort(http_status=http, grpc_status=grpc, percentage=percentage)


FAULT = FilterCodec("envoy.extensions.filters.http.fault.v3.HTTPFault", _encode, _decode)
