"""What a gRPC handler is given of a call that was let in: its message, and its metadata."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc

from ..dataplane import Request

log = logging.getLogger("meshlib")

UNREADABLE = "Exception deserializing request!"


class Metadatum(NamedTuple):
    """As grpcio has it."""

    key: str
    value: str | bytes


class ShownContext:
    """A servicer context with other metadata than came in: what is not for the handler is gone."""

    def __init__(self, context: Any, metadata: tuple[Metadatum, ...]) -> None:
        self._context = context
        self._metadata = metadata

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> tuple[Metadatum, ...]:
        return self._metadata


def shown(context: Any, came: Request, served: Request) -> Any:
    """The context itself, unless what stands before the handler changed the headers."""
    if served is came or served.headers is came.headers:
        return context
    metadata = [Metadatum(key, value) for key, value in served.headers]
    binary = [pair for pair in context.invocation_metadata() or () if type(pair[1]) is bytes]
    return ShownContext(context, (*metadata, *(Metadatum(*pair) for pair in binary)))


def reading(handler: Any) -> Callable[[Any], Any]:
    """What makes a message of the bytes that :func:`rewrapped` handlers are given."""
    late: Callable[[Any], Any] | None = handler.request_deserializer
    return as_it_is if late is None or handler.request_streaming else late


def as_it_is(message: Any) -> Any:
    return message


def deserialized(read: Callable[[Any], Any], message: Any, context: Any) -> Any:
    """Fails as synchronous servers of grpcio's fail."""
    try:
        made = read(message)
    except Exception as error:  # noqa: BLE001 - whatever the application's own function raises
        log.warning("a request could not be deserialized: %r", error)
        made = None
    if made is None:
        context.abort(grpc.StatusCode.INTERNAL, UNREADABLE)
    return made
