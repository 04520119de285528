"""``AccessLogFilter`` ⇄ the filters of the model: of which calls a log has lines."""

from collections.abc import Callable
from typing import Any

from ...model import RuntimeFraction
from ...model.telemetry import (
    NEVER_SET,
    RESPONSE_FLAGS,
    AccessLogFilter,
    AndFilter,
    Comparison,
    DurationFilter,
    ExpressionFilter,
    GrpcStatusFilter,
    HeaderFilter,
    NotHealthCheckFilter,
    OrFilter,
    ResponseFlagFilter,
    RuntimeFilter,
    StatusCodeFilter,
    TraceableFilter,
)
from ..expressions import silent_in, why_not_cel
from .matcher import decode_fraction, decode_header, encode_fraction, encode_header
from .runtime import KEY
from .wire import Fields, Reader, packed

CEL = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
CEL_NAME = "envoy.access_loggers.extension_filters.cel"


def encode_filter(condition: AccessLogFilter) -> Fields:  # noqa: PLR0911 - one of each kind
    match condition:
        case StatusCodeFilter() | DurationFilter():
            kind = "status_code" if isinstance(condition, StatusCodeFilter) else "duration"
            return {f"{kind}_filter": {"comparison": _encode_comparison(condition, kind)}}
        case NotHealthCheckFilter():
            return {"not_health_check_filter": {}}
        case TraceableFilter():
            return {"traceable_filter": {}}
        case RuntimeFilter():
            return {"runtime_filter": _encode_runtime(condition)}
        case HeaderFilter(header):
            return {"header_filter": {"header": encode_header(header)}}
        case ResponseFlagFilter(flags):
            return {"response_flag_filter": {"flags": flags}}
        case GrpcStatusFilter():
            statuses = {"statuses": condition.statuses, "exclude": condition.exclude}
            return {"grpc_status_filter": statuses}
        case ExpressionFilter(expression):
            inside = packed(CEL, {"expression": expression})
            return {"extension_filter": {"name": CEL_NAME, "typed_config": inside}}
        case AndFilter(filters) | OrFilter(filters):
            kind = "and_filter" if isinstance(condition, AndFilter) else "or_filter"
            return {kind: {"filters": [encode_filter(one) for one in filters]}}


def _encode_comparison(condition: StatusCodeFilter | DurationFilter, kind: str) -> Fields:
    key = condition.runtime_key or f"{KEY}access_log.{kind}"
    value = {"default_value": condition.value, "runtime_key": key}
    return {"op": condition.comparison.value, "value": value}


def _encode_runtime(condition: RuntimeFilter) -> Fields:
    share = condition.fraction
    return {
        "runtime_key": share.runtime_key or f"{KEY}access_log.share",
        "percent_sampled": encode_fraction(share.numerator, share.denominator),
        "use_independent_randomness": condition.use_independent_randomness,
    }


def decode_filter(reader: Reader) -> AccessLogFilter | None:
    """``None`` for a kind that is not supported."""
    kind = reader.which(*DECODERS)
    if not kind:
        if not any(reader.unread()):
            reader.problem("no filter is given")
        return None
    return DECODERS[kind](reader.child(kind))


def _decode_status_code(reader: Reader) -> StatusCodeFilter:
    return StatusCodeFilter(**_decode_comparison(reader.child("comparison")))


def _decode_duration(reader: Reader) -> DurationFilter:
    return DurationFilter(**_decode_comparison(reader.child("comparison")))


def _decode_comparison(reader: Reader) -> dict[str, Any]:
    value = reader.child("value")
    return {
        "comparison": Comparison(reader.enum("op")),
        "value": value.number("default_value"),
        "runtime_key": _decode_key(value),
    }


def _decode_key(reader: Reader) -> str:
    key = reader.text("runtime_key")
    return "" if key.startswith(KEY) else key


def _decode_runtime(reader: Reader) -> RuntimeFilter:
    """Without a share in it nothing is logged, unless the runtime says so."""
    numerator, denominator = decode_fraction(reader.child("percent_sampled"))
    share = RuntimeFraction(
        numerator=numerator, denominator=denominator, runtime_key=_decode_key(reader)
    )
    independent = reader.flag("use_independent_randomness")
    return RuntimeFilter(fraction=share, use_independent_randomness=independent)


def _decode_flags(reader: Reader) -> ResponseFlagFilter:
    flags = reader.texts("flags")
    for flag in flags:
        if flag not in RESPONSE_FLAGS:
            reader.problem(f"{flag!r} is no response flag", "flags")
        elif flag in NEVER_SET:
            reader.drop(f"flags[{flag}]")  # no call has it
    return ResponseFlagFilter(flags)


def _decode_grpc_status(reader: Reader) -> GrpcStatusFilter:
    statuses = reader.numbers("statuses")
    for status in statuses:
        if not 0 <= status <= 16:
            reader.problem(f"{status} is no status of gRPC", "statuses")
    return GrpcStatusFilter(statuses=statuses, exclude=reader.flag("exclude"))


def _decode_extension(reader: Reader) -> ExpressionFilter | None:
    reader.skip("name")
    type_name, inside = reader.extension("typed_config")
    if inside is None or type_name != CEL:
        reader.drop("typed_config")
        return None
    expression = inside.text("expression")
    refusal = why_not_cel(expression)
    if refusal:
        inside.problem(refusal, "expression")
    elif silent_in(expression):
        inside.drop("expression")  # it can never be true
    return ExpressionFilter(expression)


def _decode_several(reader: Reader) -> tuple[AccessLogFilter, ...] | None:
    """``None`` where one of them is not supported: the others would let through too much."""
    found = [decode_filter(one) for one in reader.children("filters")]
    known = tuple(one for one in found if one is not None)
    return known if len(known) == len(found) else None


def _decode_and(reader: Reader) -> AndFilter | None:
    filters = _decode_several(reader)
    return None if filters is None else AndFilter(filters)


def _decode_or(reader: Reader) -> OrFilter | None:
    filters = _decode_several(reader)
    return None if filters is None else OrFilter(filters)


DECODERS: dict[str, Callable[[Reader], AccessLogFilter | None]] = {
    "status_code_filter": _decode_status_code,
    "duration_filter": _decode_duration,
    "not_health_check_filter": lambda _: NotHealthCheckFilter(),
    "traceable_filter": lambda _: TraceableFilter(),
    "runtime_filter": _decode_runtime,
    "header_filter": lambda reader: HeaderFilter(decode_header(reader.child("header"))),
    "response_flag_filter": _decode_flags,
    "grpc_status_filter": _decode_grpc_status,
    "extension_filter": _decode_extension,
    "and_filter": _decode_and,
    "or_filter": _decode_or,
}
