"""Channels as grpcio makes them: the mesh traces its own attempts, so nobody else is to do it."""

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from grpc.aio import _channel as aio_channel

INSTRUMENTORS = "opentelemetry.instrumentation."


def insecure_channel(*args: Any) -> grpc.Channel:
    return _sync(grpc.insecure_channel)(*args)


def secure_channel(*args: Any) -> grpc.Channel:
    return _sync(grpc.secure_channel)(*args)


def _sync(make: Callable[..., grpc.Channel]) -> Callable[..., grpc.Channel]:
    """What OpenTelemetry's instrumentor wrapped, if it did; patches of others are left alone."""
    around = getattr(make, "_self_wrapper", None)
    if not getattr(around, "__module__", "").startswith(INSTRUMENTORS):
        return make
    bare: Callable[..., grpc.Channel] = make.__wrapped__  # type: ignore[attr-defined]
    return bare


def aio_insecure_channel(*args: Any) -> grpc.aio.Channel:
    return _aio("insecure_channel")(*args)


def aio_secure_channel(*args: Any) -> grpc.aio.Channel:
    return _aio("secure_channel")(*args)


def _aio(name: str) -> Callable[..., grpc.aio.Channel]:
    make: Callable[..., grpc.aio.Channel] = getattr(grpc.aio, name)
    if not make.__module__.startswith(INSTRUMENTORS):
        return make
    bare: Callable[..., grpc.aio.Channel] = getattr(aio_channel, name)
    return bare
