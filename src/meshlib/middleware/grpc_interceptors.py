"""The mesh on channels that the user made: synchronous client interceptors."""

from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from ._drive import Runtime
from ._grpc_behind import Behind, Details, behind
from ._grpc_methods import MultiCallable
from ._grpc_pool import Options
from ._target import grpc_target
from .grpc_channel import Channel, StreamStream, StreamUnary, UnaryStream, UnaryUnary

M = TypeVar("M", bound=MultiCallable)


class Interceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Sends on the mesh's own channels; calls to hosts it does not know go where they would."""

    def __init__(
        self,
        runtime: Runtime,
        target: str | None,
        make: Callable[[str, Options], grpc.Channel],
        options: Options,
    ) -> None:
        self._runtime = runtime
        self._target = target
        self._make = make
        self._options = tuple(options)
        self._channels: dict[str, Channel] = {}
        self._methods: dict[object, Any] = {}

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._unary(UnaryUnary, continuation, details, request)

    def intercept_stream_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._unary(StreamUnary, continuation, details, request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        method = self._method(UnaryStream, continuation, details)
        if method is None:
            return continuation(details, request)
        return method(request, *options_of(details))

    def intercept_stream_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        method = self._method(StreamStream, continuation, details)
        if method is None:
            return continuation(details, request)
        return method(request, *options_of(details))

    def _unary(
        self, kind: type[UnaryUnary | StreamUnary], continuation: Any, details: Any, request: Any
    ) -> Any:
        method = self._method(kind, continuation, details)
        if method is None:
            return continuation(details, request)
        if not _is_blocking(continuation):
            return method.future(request, *options_of(details))
        try:
            _response, call = method.with_call(request, *options_of(details))
        except grpc.RpcError as error:
            return error  # grpcio's own continuations return errors too
        return call

    def _method(self, kind: type[M], continuation: Any, details: Any) -> M | None:
        """Our method, bound to this very continuation for hosts that are not of the mesh."""
        found = behind(continuation)
        if found is None:
            return None
        channel = self._channel(found)
        if channel is None:
            return None
        key = (channel, kind, details.method, found.serializer, found.deserializer)
        method = self._methods.get(key)
        if method is None:
            method = self._methods[key] = kind(
                channel, details.method, found.serializer, found.deserializer, registered=False
            )
        bound: M = method.bound_to(Continued(continuation, details.method))
        return bound

    def _channel(self, found: Behind) -> Channel | None:
        name = self._target or found.target
        channel = self._channels.get(name)
        if channel is None:
            if grpc_target(name).listener is None:
                return None
            made = self._make(name, self._options)
            assert isinstance(made, Channel)
            channel = self._channels.setdefault(name, made)
        return channel


class Continued:
    """The user's own channel in the shape of a native multicallable."""

    def __init__(self, continuation: Callable[[Any, Any], Any], method: str) -> None:
        self._continuation = continuation
        self._method = method

    def __call__(self, message: Any, *options: Any) -> Any:
        return self._continuation(Details(self._method, *options), message)

    future = __call__

    def with_call(self, message: Any, *options: Any) -> Any:
        call = self(message, *options)
        if isinstance(call, grpc.RpcError):
            raise call
        return call.result(), call


def options_of(details: Any) -> tuple[Any, ...]:
    return (
        details.timeout,
        details.metadata,
        details.credentials,
        details.wait_for_ready,
        getattr(details, "compression", None),
    )


def _is_blocking(continuation: Any) -> bool:
    """Does the caller wait for the answer? It says so only by the place it was made in."""
    return "_with_call" in continuation.__qualname__
