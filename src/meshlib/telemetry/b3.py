"""Zipkin's B3: one header, or one for each part of it."""

import re
from collections.abc import Mapping

from .trace_headers import Parent

SINGLE = "b3"
TRACE_ID = "x-b3-traceid"
SPAN_ID = "x-b3-spanid"
PARENT_ID = "x-b3-parentspanid"
SAMPLED = "x-b3-sampled"
FLAGS = "x-b3-flags"
MULTI = (TRACE_ID, SPAN_ID, PARENT_ID, SAMPLED, FLAGS)
NAMES = frozenset({SINGLE, *MULTI})

_TRACE = r"(?!0+(?:-|\Z))(?:[0-9a-f]{16}|[0-9a-f]{32})"
_SPAN = r"(?!0{16})[0-9a-f]{16}"
_SHAPES = {
    SINGLE: re.compile(rf"[01d]|{_TRACE}-{_SPAN}(?:-[01d](?:-[0-9a-f]{{16}})?)?"),
    TRACE_ID: re.compile(_TRACE),
    SPAN_ID: re.compile(_SPAN),
    PARENT_ID: re.compile(r"[0-9a-f]{16}"),
    SAMPLED: re.compile(r"[01]|true|false"),
    FLAGS: re.compile(r"[01]"),
}
_DECISIONS = {"1": True, "true": True, "d": True, "0": False, "false": False}
HALF = 1 << 64
"""Trace ids below are written as 64 bits, as they came."""


def sound(name: str, value: str) -> str:
    """The value in lower case; "" for what is malformed."""
    value = value.lower()
    return value if _SHAPES[name].fullmatch(value) else ""


def read(headers: Mapping[str, str]) -> Parent | None:
    """The caller's span, by sound headers; ``None`` where they say nothing."""
    single = headers.get(SINGLE)
    if single is not None:
        trace_id, _, rest = single.partition("-")
        if not rest:
            return Parent(0, 0, _DECISIONS[trace_id])
        span_id, _, rest = rest.partition("-")
        return Parent(int(trace_id, 16), int(span_id, 16), _DECISIONS.get(rest[:1]))
    decision = _decision(headers)
    if TRACE_ID in headers and SPAN_ID in headers:
        return Parent(int(headers[TRACE_ID], 16), int(headers[SPAN_ID], 16), decision)
    return None if decision is None else Parent(0, 0, decision)


def _decision(headers: Mapping[str, str]) -> bool | None:
    if headers.get(FLAGS) == "1":
        return True  # for the sake of debugging, whatever else is said
    return _DECISIONS.get(headers.get(SAMPLED, ""))


def write_single(trace_id: int, span_id: int, *, sampled: bool) -> tuple[tuple[str, str], ...]:
    return ((SINGLE, f"{_trace(trace_id)}-{span_id:016x}-{sampled:d}"),)


def write_multi(trace_id: int, span_id: int, *, sampled: bool) -> tuple[tuple[str, str], ...]:
    return (
        (TRACE_ID, _trace(trace_id)),
        (SPAN_ID, f"{span_id:016x}"),
        (SAMPLED, f"{sampled:d}"),
    )


def _trace(trace_id: int) -> str:
    return f"{trace_id:016x}" if trace_id < HALF else f"{trace_id:032x}"
