"""The synchronous channel of the mesh: each attempt goes over the channel of its endpoint."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Self

import grpc

from ..dataplane import Send
from ._drive import Runtime
from ._grpc_attempt import Attempt, StreamingAttempt, connectivity
from ._grpc_bare import insecure_channel, secure_channel
from ._grpc_call import blocking
from ._grpc_cut import cut
from ._grpc_kinds import StreamStreamCall, StreamUnaryFuture, UnaryFuture, UnaryStreamCall
from ._grpc_methods import Methods, MultiCallable
from ._grpc_pool import Member, Options, Pool, authority_in
from ._grpc_request import Drafting
from ._grpc_status import best
from ._target import Target

STATES = {state.value[0]: state for state in grpc.ChannelConnectivity}


class SyncMultiCallable(MultiCallable):
    """A method whose calls may be made on any thread."""

    def __init__(
        self, channel: "Channel", path: str, serializer: Any, deserializer: Any, *, registered: bool
    ) -> None:
        super().__init__(channel, path, serializer, deserializer, registered=registered)
        self.member = channel.member


class Blocking(SyncMultiCallable):
    """A method with one response."""

    attempt: type[Attempt]
    pending: type[UnaryFuture] | type[StreamUnaryFuture]

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        draft = self._draft(timeout, metadata)
        options = (credentials, wait_for_ready, compression)
        attempt = self.attempt(self, request, draft, options)
        return blocking(self.runtime, draft, attempt, wait_for_ready=bool(wait_for_ready))

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        draft = self._draft(timeout, metadata)
        options = (credentials, wait_for_ready, compression)
        attempt = self.attempt(self, request, draft, options, "with_call")
        return blocking(self.runtime, draft, attempt, wait_for_ready=bool(wait_for_ready))

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        draft = self._draft(timeout, metadata)
        return self.pending(self, request, draft, (credentials, wait_for_ready, compression))


class UnaryUnary(Blocking, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    kind = "unary_unary"
    streaming = False
    attempt = Attempt
    pending = UnaryFuture


class StreamUnary(Blocking, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    kind = "stream_unary"
    replayable = False
    attempt = StreamingAttempt
    pending = StreamUnaryFuture


class UnaryStream(SyncMultiCallable, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    kind = "unary_stream"

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        draft = self._draft(timeout, metadata)
        return UnaryStreamCall(self, request, draft, (credentials, wait_for_ready, compression))


class StreamStream(SyncMultiCallable, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    kind = "stream_stream"
    replayable = False

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        draft = self._draft(timeout, metadata)
        options = (credentials, wait_for_ready, compression)
        return StreamStreamCall(self, request_iterator, draft, options)


class Channel(Methods, grpc.Channel):
    """Calls go to a host of the mesh; may be used from any thread."""

    kinds: ClassVar[dict[str, Any]] = {
        method.kind: method for method in (UnaryUnary, UnaryStream, StreamUnary, StreamStream)
    }

    def __init__(
        self,
        runtime: Runtime,
        target: Target,
        options: Options,
        compression: grpc.Compression | None,
    ) -> None:
        assert target.listener is not None
        self.runtime = runtime
        self._target = target
        self.listener = target.listener
        self._options = tuple(options)
        self._compression = compression
        self._closed = False
        self._watches: list[Watch] = []
        self._pool = self._make_pool()
        self.drafting = Drafting(runtime, target.listener, authority_in(self._options))

    def _make_pool(self) -> Pool[grpc.Channel]:
        return Pool(self.runtime, self._target, self._options, self._dial, _cut)

    def _dial(
        self, target: str, options: Options, credentials: grpc.ChannelCredentials | None
    ) -> grpc.Channel:
        if credentials is None:
            return insecure_channel(target, list(options), self._compression)
        return secure_channel(target, credentials, list(options), self._compression)

    def member(self, send: Send) -> Member[grpc.Channel]:
        if self._closed:
            raise ValueError("Cannot invoke RPC on closed channel!")
        return self._pool.member(send)

    def offered(self) -> list[Member[grpc.Channel]]:
        return self._pool.offered()

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool | None = False,
    ) -> None:
        """Hear of the best state of the channels to endpoints, whenever it changes."""
        watch = Watch(self, callback, connect=bool(try_to_connect))
        self._watches.append(watch)
        threading.Thread(target=watch.begin, name="meshlib-grpc-watch", daemon=True).start()

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        for watch in [watch for watch in self._watches if watch.callback == callback]:
            self._watches.remove(watch)
            watch.stop()

    def close(self) -> None:
        self._closed = True
        for watch in self._watches:
            watch.stop()
        self._watches.clear()
        for channel in self._pool.empty():
            channel.close()

    def forget(self) -> list[object]:
        """After a fork the channels are the parent's: begin anew and never touch them."""
        inherited: list[object] = [self._pool, *self._watches]
        self._watches = []
        self._pool = self._make_pool()
        return inherited

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self.close()
        return None


def _cut(member: Member[grpc.Channel]) -> None:
    cut(member.channel)


class Watch:
    """One subscription: the states of several channels as the best of them."""

    def __init__(
        self,
        channel: Channel,
        callback: Callable[[grpc.ChannelConnectivity], None],
        *,
        connect: bool,
    ) -> None:
        self.callback = callback
        self._channel = channel
        self._connect = connect
        self._lock = threading.Lock()
        self._members: list[Member[grpc.Channel]] = []
        self._told: grpc.ChannelConnectivity | None = None
        self._stopped = False

    def begin(self) -> None:
        self._changed()
        channel = self._channel
        if not channel.offered():
            channel.runtime.start()
            channel.runtime.want(channel.listener)
        channel.runtime.wait_for(lambda: self._stopped or bool(channel.offered()), None)
        with self._lock:
            if self._stopped:
                return
            self._members = channel.offered()
        for member in self._members:
            member.channel.subscribe(self._changed, try_to_connect=self._connect)

    def _changed(self, _state: grpc.ChannelConnectivity | None = None) -> None:
        with self._lock:
            now = best(STATES[connectivity(member.channel)] for member in self._members)
            if self._stopped or now is self._told:
                return
            self._told = now
        self.callback(now)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            members, self._members = self._members, []
        for member in members:
            member.channel.unsubscribe(self._changed)
