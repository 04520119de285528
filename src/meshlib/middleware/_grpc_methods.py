"""What the multicallables and channels of both gRPC APIs share."""

from copy import copy
from typing import Any, ClassVar, Protocol, Self

from ..dataplane import Meter
from ._drive import Runtime
from ._grpc_meter import Outgoing, shared
from ._grpc_pool import Member
from ._grpc_request import Draft, Drafting


class Home(Protocol):
    """The mesh channel that a method belongs to."""

    runtime: Runtime
    drafting: Drafting


class MultiCallable:
    """One method of a service: makes calls, and the native multicallables they go over."""

    kind: ClassVar[str]
    replayable = True
    streaming = True

    def __init__(
        self, channel: Home, path: str, serializer: Any, deserializer: Any, *, registered: bool
    ) -> None:
        self._path = path
        self._arguments = (serializer, deserializer)
        self._registered = registered
        self._key = object()
        self.elsewhere: Any = None
        self.runtime = channel.runtime
        self._drafting = channel.drafting

    def bound_to(self, elsewhere: Any) -> Self:
        """The same method, where ``elsewhere`` stands for the way out of the mesh."""
        bound = copy(self)
        bound.elsewhere = elsewhere
        return bound

    def native(self, member: Member[Any], path: str, meter: Meter) -> Any:
        """A multicallable for one attempt, which counts its messages."""
        if self.elsewhere is not None and member.address is None:
            return self.elsewhere
        codecs = Outgoing(meter, self.runtime.clock, *self._arguments)
        return self._made(member, path, codecs.write, codecs.read)

    def lasting(self, member: Member[Any], path: str) -> Any:
        """One for all calls with one message each way: see :func:`shared`."""
        if self.elsewhere is not None and member.address is None:
            return self.elsewhere
        key: object = self._key if path == self._path else (self._key, path)
        found = member.natives.get(key)
        if found is None:
            codecs = shared(*self._arguments, self.runtime.clock)
            found = member.natives[key] = self._made(member, path, *codecs)
        return found

    def sending(
        self, member: Member[Any], path: str, meter: Meter, message: Any
    ) -> tuple[Any, Any]:
        """The multicallable of an attempt, and what it is to be called with."""
        return self.native(member, path, meter), message

    def _made(self, member: Member[Any], path: str, serializer: Any, deserializer: Any) -> Any:
        make = getattr(member.channel, self.kind)
        if self._registered and path == self._path:
            return make(path, serializer, deserializer, _registered_method=True)
        return make(path, serializer, deserializer)

    def _draft(self, timeout: float | None, metadata: Any) -> Draft:
        return self._drafting.draft(self._path, metadata, timeout, self.replayable, self.streaming)


class Methods:
    """The four makers of multicallables, as generated stubs call them."""

    kinds: ClassVar[dict[str, Any]]
    """The class of multicallables of each kind."""

    def _make(self, kind: str, method: str, codecs: tuple[Any, Any], registered: object) -> Any:
        return self.kinds[kind](self, method, *codecs, registered=bool(registered))

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        codecs = (request_serializer, response_deserializer)
        return self._make("unary_unary", method, codecs, _registered_method)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        codecs = (request_serializer, response_deserializer)
        return self._make("unary_stream", method, codecs, _registered_method)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        codecs = (request_serializer, response_deserializer)
        return self._make("stream_unary", method, codecs, _registered_method)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        codecs = (request_serializer, response_deserializer)
        return self._make("stream_stream", method, codecs, _registered_method)
