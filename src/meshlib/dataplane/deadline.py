"""How long a call may take: the caller's deadline and the route's limits together."""

from ..model import RouteAction

ENVOY_ROUTE_TIMEOUT = 15.0


def route_timeout(action: RouteAction, *, is_grpc: bool, streaming: bool) -> float | None:
    """Seconds for the whole call with all attempts; ``None`` for no limit.

    HTTP: ``timeout``, 15 s when unset (route.proto). gRPC: ``max_stream_duration`` (gRFC A31),
    and ``timeout`` only where set and the call is unary: a stream may live on. Zero is no limit.
    """
    if not is_grpc:
        limit = ENVOY_ROUTE_TIMEOUT if action.timeout is None else action.timeout
        return limit or None
    duration = action.max_stream_duration
    if duration is not None:
        limit_header = duration.grpc_timeout_header_max
        chosen = limit_header if limit_header is not None else duration.max_stream_duration
        if chosen is not None:
            return chosen or None
    if streaming or action.timeout is None:
        return None
    return action.timeout or None
