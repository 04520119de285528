"""What an interceptor is not told: the channel it stands on, and how messages are written.

grpcio gives interceptors a continuation and no more; what is needed hangs behind it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from ..errors import MeshError


@dataclass(frozen=True, slots=True)
class Behind:
    target: str
    serializer: Any
    deserializer: Any


def behind(continuation: Callable[..., Any]) -> Behind | None:
    """Look behind the continuation of a synchronous channel; ``None``: nothing known is there."""
    method = inspect.getclosurevars(continuation).nonlocals.get("self")
    thunk = getattr(method, "_thunk", None)
    if thunk is None:
        return None
    held = inspect.getclosurevars(thunk).nonlocals
    intercepted = held.get("self")
    channel = getattr(intercepted, "_channel", None)
    inner = getattr(channel, "_interceptor", None)
    if inner is not None:
        raise _not_last(inner)
    target = getattr(channel, "_target", None)
    if not isinstance(target, str):
        return None
    return Behind(target, held.get("request_serializer"), held.get("response_deserializer"))


def behind_aio(continuation: Callable[..., Any]) -> Behind | None:
    """Look behind the continuation of an asyncio channel; ``None``: nothing known is there."""
    call = getattr(getattr(continuation, "func", None), "__self__", None)
    target = getattr(getattr(call, "_channel", None), "target", None)
    arguments: tuple[Any, ...] = getattr(continuation, "args", ())
    if not isinstance(target, bytes) or len(arguments) != 4:
        return None
    inner, _method, serializer, deserializer = arguments
    if inner:
        raise _not_last(inner[0])
    return Behind(target.decode(), serializer, deserializer)


def _not_last(inner: object) -> MeshError:
    return MeshError(
        "the mesh's interceptors send on channels of their own, so they must be the last ones:"
        f" {type(inner).__name__} would be skipped"
    )


class Details(grpc.ClientCallDetails):
    """What a continuation is told of a call."""

    def __init__(
        self,
        method: Any,
        timeout: float | None,
        metadata: Any,
        credentials: Any,
        wait_for_ready: bool | None,
        compression: Any,
    ) -> None:
        self.method = method
        self.timeout = timeout
        self.metadata = metadata
        self.credentials = credentials
        self.wait_for_ready = wait_for_ready
        self.compression = compression
