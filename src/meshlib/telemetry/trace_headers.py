"""W3C Trace Context and Baggage: read strictly, written soundly."""

import re
from typing import NamedTuple

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
BAGGAGE = "baggage"

LONGEST = 8192
"""Bytes of one value, as much as W3C asks everybody to carry."""
MEMBERS = 32
"""Members of a ``tracestate``; of more, none is believed (W3C Trace Context, 3.3.1.1)."""
MAX_BAGGAGE = 180
FAR = 2 * LONGEST
"""Characters of a ``baggage`` that are looked at."""
SAMPLED, RANDOM = 1, 2

PLAIN = re.compile(r"[\x20-\x7e]+")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_LATER = re.compile(_TRACEPARENT.pattern + r"-[\x21-\x7e]*")
_STATE = re.compile(
    r"([a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110's word
_VALUE = r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*"
# One part at a time: of blanks that two parts could share, a regex tries all ways to do so.
_PAIR = re.compile(rf"{_TOKEN}[ \t]*=[ \t]*{_VALUE}")
_PROPERTY = re.compile(rf"{_TOKEN}([ \t]*=[ \t]*{_VALUE})?")


class Parent(NamedTuple):
    """The span that a call was made in. ``sampled`` ``None``: who is called is to decide.

    Ids of 0: nothing but the decision came along. ``is_random``: whoever began the trace says of
    its id that chance made it (W3C Trace Context, level 2).
    """

    trace_id: int
    span_id: int
    sampled: bool | None
    tracestate: str = ""
    is_random: bool = False


def is_traceparent(value: str) -> bool:
    if _TRACEPARENT.fullmatch(value):
        return True
    return not value.startswith("00") and _LATER.fullmatch(value) is not None


def read_traceparent(value: str, tracestate: str = "") -> Parent:
    """``value`` is one (:func:`is_traceparent`)."""
    flags = int(value[53:55], 16)
    ids = int(value[3:35], 16), int(value[36:52], 16)
    return Parent(*ids, bool(flags & SAMPLED), tracestate, bool(flags & RANDOM))


def write_traceparent(trace_id: int, span_id: int, flags: int) -> str:
    return f"00-{trace_id:032x}-{span_id:016x}-{flags & 0xFF:02x}"


def sound_tracestate(value: str) -> str:
    """Its members without blanks between them; "" where any is malformed or there twice."""
    members = [member for part in value.split(",") if (member := part.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    if len(members) > MEMBERS or len(keys) != len(members):
        return ""
    return ",".join(members) if all(map(_STATE.fullmatch, members)) else ""


def sound_baggage(value: str) -> str:
    """What is well-formed of it, as far as there is room."""
    if len(value) > FAR:
        value = value[:FAR].rpartition(",")[0]
    entries = [entry for part in value.split(",") if _is_entry(entry := part.strip(" \t"))]
    kept, length = [], -1
    for entry in entries[:MAX_BAGGAGE]:
        length += len(entry) + 1
        if length > LONGEST:
            break
        kept.append(entry)
    return ",".join(kept)


def _is_entry(entry: str) -> bool:
    pair, *properties = (part.strip(" \t") for part in entry.split(";"))
    return _PAIR.fullmatch(pair) is not None and all(map(_PROPERTY.fullmatch, properties))
