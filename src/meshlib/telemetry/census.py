"""``grpc-trace-bin``: OpenCensus' binary form of a span, which gRPC's own tracing still knows.

gRPC core keeps it from servers in Python: it comes in over HTTP alone, and goes out by both.
"""

from base64 import b64decode, b64encode

from .trace_headers import SAMPLED, Parent

NAME = "grpc-trace-bin"
LENGTH = 29
HEAD = slice(0, 2)
SPAN_FIELD, FLAGS_FIELD = 18, 27


def read(text: str) -> Parent | None:
    """The caller's span; ``None`` for what is not one of version 0. ``text`` is in base64."""
    try:
        octets = b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except ValueError:
        return None
    if len(octets) != LENGTH or octets[HEAD] != b"\0\0":
        return None
    if octets[SPAN_FIELD] != 1 or octets[FLAGS_FIELD] != 2:
        return None
    trace_id = int.from_bytes(octets[2:SPAN_FIELD])
    span_id = int.from_bytes(octets[SPAN_FIELD + 1 : FLAGS_FIELD])
    if not trace_id or not span_id:
        return None
    return Parent(trace_id, span_id, bool(octets[FLAGS_FIELD + 1] & SAMPLED))


def write(trace_id: int, span_id: int, *, sampled: bool) -> tuple[tuple[str, str], ...]:
    octets = (
        b"\0\0" + trace_id.to_bytes(16) + b"\1" + span_id.to_bytes(8) + b"\2" + bytes([sampled])
    )
    return ((NAME, b64encode(octets).decode()),)
