"""The mesh on channels that the user made: asyncio client interceptors, one of each kind."""

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from ._drive import Runtime
from ._grpc_aio_ending import at_once
from ._grpc_behind import Behind, Details, behind_aio
from ._grpc_pool import Options
from ._target import grpc_target
from .grpc_aio import Channel, StreamStream, StreamUnary, UnaryStream, UnaryUnary

Kind = type[UnaryUnary] | type[UnaryStream] | type[StreamUnary] | type[StreamStream]


class Meshed:
    """What the four interceptors of one channel share."""

    def __init__(
        self,
        runtime: Runtime,
        target: str | None,
        make: Callable[[str, Options], grpc.aio.Channel],
        options: Options,
    ) -> None:
        self.runtime = runtime
        self._target = target
        self._make = make
        self._options = tuple(options)
        self._channels: dict[str, Channel] = {}
        self._methods: dict[object, Any] = {}

    async def call(self, kind: Kind, continuation: Any, details: Any, message: Any) -> Any:
        """Call over the mesh, or on by the continuation where nothing is known of the host."""
        found = behind_aio(continuation)
        channel = None if found is None else self._channel(found)
        if found is None or channel is None:
            return await continuation(details, message)
        path = details.method.decode() if isinstance(details.method, bytes) else details.method
        key = (channel, kind, path, found.serializer, found.deserializer)
        method = self._methods.get(key)
        if method is None:
            method = self._methods[key] = kind(
                channel, path, found.serializer, found.deserializer, registered=False
            )
        return method.bound_to(Continued(continuation, details.method))(
            message,
            timeout=details.timeout,
            metadata=details.metadata,
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
        )

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

    def __init__(self, continuation: Callable[[Any, Any], Any], method: Any) -> None:
        self._continuation = continuation
        self._method = method

    def __call__(
        self,
        message: Any,
        *,
        timeout: float | None,
        metadata: Any,
        credentials: Any,
        wait_for_ready: bool | None,
        compression: Any,
    ) -> Any:
        """The last continuation makes the native call and waits for nothing."""
        sent = metadata or ()
        details = Details(self._method, timeout, sent, credentials, wait_for_ready, compression)
        return at_once(self._continuation(details, message))


class UnaryUnaryInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, mesh: Meshed) -> None:
        self._mesh = mesh

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await self._mesh.call(UnaryUnary, continuation, details, request)


class UnaryStreamInterceptor(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, mesh: Meshed) -> None:
        self._mesh = mesh

    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await self._mesh.call(UnaryStream, continuation, details, request)


class StreamUnaryInterceptor(grpc.aio.StreamUnaryClientInterceptor):
    def __init__(self, mesh: Meshed) -> None:
        self._mesh = mesh

    async def intercept_stream_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await self._mesh.call(StreamUnary, continuation, details, request)


class StreamStreamInterceptor(grpc.aio.StreamStreamClientInterceptor):
    def __init__(self, mesh: Meshed) -> None:
        self._mesh = mesh

    async def intercept_stream_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await self._mesh.call(StreamStream, continuation, details, request)


def interceptors(mesh: Meshed) -> list[grpc.aio.ClientInterceptor]:
    """A channel takes an interceptor for one kind of calls only: one of each."""
    return [
        UnaryUnaryInterceptor(mesh),
        UnaryStreamInterceptor(mesh),
        StreamUnaryInterceptor(mesh),
        StreamStreamInterceptor(mesh),
    ]
