"""How long a call may take, as HTTP says it: Envoy's header, and gRPC's."""

from collections.abc import Mapping

from multidict import CIMultiDict

from ..dataplane.deadline import LONGEST as FOREVER
from ..dataplane.statuses import decode_grpc_timeout

EXPECTED = "x-envoy-expected-rq-timeout-ms"
GRPC_TIMEOUT = "grpc-timeout"
LONGEST = 10
"""Digits of a number of milliseconds: a hundred days and more."""


def expected(headers: Mapping[str, str]) -> float | None:
    """Seconds that the caller waits for an answer; ``None``: it does not say, or not clearly."""
    text = headers.get(EXPECTED)
    if text is not None and text.isascii() and text.isdecimal() and len(text) <= LONGEST:
        return int(text) / 1000
    text = headers.get(GRPC_TIMEOUT)
    said = decode_grpc_timeout(text) if text is not None else None
    return None if said is None or said > FOREVER else said


def announce(headers: CIMultiDict[str], timeout: float) -> None:
    """Say how long the answer is waited for, in seconds."""
    headers[EXPECTED] = str(max(1, int(timeout * 1000)))
