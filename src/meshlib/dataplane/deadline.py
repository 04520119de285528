"""How long a call may take: the caller's deadline and the route's limits together."""

from ..model import MaxStreamDuration, RouteAction
from .message import Request

ENVOY_ROUTE_TIMEOUT = 15.0
UNSET = MaxStreamDuration()
LONGEST = 1e9
"""Seconds, some thirty years: what is longer overflows the timers of threads."""


def route_timeout(
    action: RouteAction, *, is_grpc: bool, streaming: bool, listener: float | None = None
) -> float | None:
    """Seconds for the whole call with all attempts; ``None`` for no limit.

    HTTP: ``timeout``, 15 s when unset, and not longer than ``max_stream_duration`` (route.proto).
    gRPC: ``max_stream_duration`` (gRFC A31), and ``timeout`` only where set and the call is unary:
    a stream may live on. ``listener`` is the HttpConnectionManager's ``max_stream_duration``, which
    holds where the route has none of its own. Zero is no limit.
    """
    durations = action.max_stream_duration or UNSET
    stream = durations.max_stream_duration
    if stream is None:
        stream = listener
    if not is_grpc:
        limit = ENVOY_ROUTE_TIMEOUT if action.timeout is None else action.timeout
        return min(filter(None, (limit, stream)), default=None)
    if durations.grpc_timeout_header_max is not None:
        stream = durations.grpc_timeout_header_max
    if stream is not None:
        return stream or None
    if streaming or action.timeout is None:
        return None
    return action.timeout or None


def earlier(deadline: float | None, started: float, timeout: float | None) -> float | None:
    """The caller's deadline is never lengthened, only shortened."""
    if timeout is None:
        return deadline
    limit = started + min(timeout, LONGEST)
    return limit if deadline is None else min(deadline, limit)


def brought_forward(deadline: float, now: float, offset: float) -> float:
    """A gRPC caller's deadline less ``grpc_timeout_header_offset``, as long as any time is left."""
    return deadline - offset if deadline - now > offset else deadline


def asked_for(request: Request, started: float) -> float | None:
    """The moment by which the caller wants an answer, whatever a route may say of it."""
    if request.override is None:
        return request.deadline
    return earlier(request.deadline, started, request.override.timeout or None)
