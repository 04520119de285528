"""gRPC's statuses and HTTP's, one as the other; and the time-out that gRPC writes in a header."""

from math import ceil

OK, UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE = 0, 2, 4, 8, 14

HTTP_TO_GRPC = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""gRPC's http-grpc-status-mapping."""

GRPC_TO_HTTP = {
    0: 200,
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}
"""``google.rpc.Code``'s mapping, as Envoy uses it."""

UNITS = {"H": 3600e3, "M": 60e3, "S": 1e3, "m": 1.0, "u": 1e-3, "n": 1e-6}
"""Milliseconds in the units of ``grpc-timeout``."""

STEPS = (("m", 1), ("S", 1000), ("M", 60), ("H", 60))
MAX_DIGITS = 8
MOST = 10**MAX_DIGITS - 1


def http_to_grpc(status: int) -> int:
    """What an HTTP status without a gRPC status means to a gRPC caller."""
    return HTTP_TO_GRPC.get(status, UNKNOWN)


def grpc_to_http(code: int) -> int:
    """What a gRPC status is to an HTTP caller; 500 for a number that is none."""
    return GRPC_TO_HTTP.get(code, 500)


def encode_grpc_timeout(seconds: float) -> str:
    """The value of ``grpc-timeout``, in the finest unit from milliseconds up that has room."""
    value, unit = max(0, ceil(round(seconds * 1000, 3))), "m"
    for unit, size in STEPS:  # noqa: B007 - the unit that was reached is what counts
        value //= size
        if value <= MOST:
            break
    return f"{min(value, MOST)}{unit}"


def decode_grpc_timeout(text: str) -> float | None:
    """Seconds, in whole milliseconds rounded up as Envoy does; ``None`` for what is no time-out."""
    digits, unit = text[:-1], text[-1:]
    if unit not in UNITS or not digits.isdecimal() or not digits.isascii():
        return None
    if len(digits) > MAX_DIGITS:
        return None
    return ceil(round(int(digits) * UNITS[unit], 6)) / 1000
