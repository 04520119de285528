"""The asyncio channel of the mesh: each attempt goes over the channel of its endpoint."""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import Any, ClassVar, Self

import grpc
import grpc.aio

from ..dataplane import Meter
from ._drive import Runtime
from ._grpc_aio_kinds import StreamStreamCall, StreamUnaryCall, UnaryStreamCall, UnaryUnaryCall
from ._grpc_bare import aio_insecure_channel, aio_secure_channel
from ._grpc_cut import cut_calls
from ._grpc_methods import Methods, MultiCallable
from ._grpc_pool import Member, Options, Pool, authority_in
from ._grpc_request import Drafting
from ._grpc_status import best
from ._target import Target

Place = tuple[asyncio.AbstractEventLoop, Pool[grpc.aio.Channel]]


class AioMultiCallable(MultiCallable):
    """A method whose calls live on the event loop that they are made on."""

    def __init__(
        self, channel: "Channel", path: str, serializer: Any, deserializer: Any, *, registered: bool
    ) -> None:
        super().__init__(channel, path, serializer, deserializer, registered=registered)
        self._channel = channel


class UnaryUnary(AioMultiCallable, grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    kind = "unary_unary"
    streaming = False

    def sending(
        self, member: Member[Any], path: str, meter: Meter, message: Any
    ) -> tuple[Any, Any]:
        native = self.lasting(member, path)
        return native, message if native is self.elsewhere else (meter, message)

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> UnaryUnaryCall:
        draft = self._drafting.draft(self._path, metadata, timeout, True, False)
        options = (credentials, wait_for_ready, compression)
        return UnaryUnaryCall(self, self._channel.place(), request, draft, options)


class UnaryStream(AioMultiCallable, grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    kind = "unary_stream"

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> UnaryStreamCall:
        draft = self._draft(timeout, metadata)
        options = (credentials, wait_for_ready, compression)
        return UnaryStreamCall(self, self._channel.place(), request, draft, options)


class StreamUnary(AioMultiCallable, grpc.aio.StreamUnaryMultiCallable[Any, Any]):
    kind = "stream_unary"
    replayable = False

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> StreamUnaryCall:
        draft = self._draft(timeout, metadata)
        options = (credentials, wait_for_ready, compression)
        return StreamUnaryCall(self, self._channel.place(), request_iterator, draft, options)


class StreamStream(AioMultiCallable, grpc.aio.StreamStreamMultiCallable[Any, Any]):
    kind = "stream_stream"
    replayable = False

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> StreamStreamCall:
        draft = self._draft(timeout, metadata)
        options = (credentials, wait_for_ready, compression)
        return StreamStreamCall(self, self._channel.place(), request_iterator, draft, options)


class Channel(Methods, grpc.aio.Channel):
    """Calls go to a host of the mesh; may be used from several event loops."""

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
        self._listener = target.listener
        self._options = tuple(options)
        self._compression = compression
        self._pools: dict[asyncio.AbstractEventLoop, Pool[grpc.aio.Channel]] = {}
        self._recent: Place | None = None
        self._closed = False
        self.drafting = Drafting(runtime, target.listener, authority_in(self._options))

    def place(self) -> Place:
        """The running event loop with its channels.

        To ask asyncio for the loop costs a system call; the loop itself knows where it runs.
        """
        place = self._recent
        if place is not None and getattr(place[0], "_thread_id", None) == get_ident():
            return place
        return self._place_of(asyncio.get_running_loop())

    def _place_of(self, loop: asyncio.AbstractEventLoop) -> Place:
        if self._closed:
            raise grpc.aio.UsageError("Channel is closed.")
        pool = self._pools.get(loop)
        if pool is None:
            cut = partial(_cut, loop)
            pool = Pool(self.runtime, self._target, self._options, self._dial, cut)
            kept = {old: its for old, its in self._pools.items() if not old.is_closed()}
            self._pools = {**kept, loop: pool}
        self._recent = (loop, pool)
        return self._recent

    def _dial(
        self, target: str, options: Options, credentials: grpc.ChannelCredentials | None
    ) -> grpc.aio.Channel:
        if credentials is None:
            return aio_insecure_channel(target, list(options), self._compression)
        return aio_secure_channel(target, credentials, list(options), self._compression)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The best state of the channels to endpoints."""
        if self._closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        _loop, pool = self.place()
        members = pool.offered() if try_to_connect else pool.members
        return best(member.channel.get_state(try_to_connect) for member in members)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        while self.get_state() is last_observed_state:
            await self._change(last_observed_state)

    async def channel_ready(self) -> None:
        ready = grpc.ChannelConnectivity.READY
        while (state := self.get_state(try_to_connect=True)) is not ready:
            await self._change(state)

    async def _change(self, observed: grpc.ChannelConnectivity) -> None:
        """Wait until there are endpoints, or the channel to one of them changes its state."""
        _loop, pool = self.place()
        states = [(member.channel, member.channel.get_state()) for member in pool.members]
        if not states:
            self.runtime.start()
            self.runtime.want(self._listener)
            await self.runtime.await_for(lambda: bool(pool.offered()), None)
        elif best(state for _, state in states) is observed:
            await _any(channel.wait_for_state_change(state) for channel, state in states)

    async def close(self, grace: float | None = None) -> None:
        self._closed = True
        self._recent = None
        here = asyncio.get_running_loop()
        for loop, pool in list(self._pools.items()):
            closing = [channel.close(grace) for channel in pool.empty()]
            if not loop.is_closed():
                loop.call_soon_threadsafe(pool.abandon)
            if loop is here:
                await asyncio.gather(*closing)
            elif loop.is_running():
                for close in closing:
                    asyncio.run_coroutine_threadsafe(close, loop)
            else:
                for close in closing:
                    close.close()  # with its loop stopped, letting go of a channel closes it

    def forget(self) -> list[object]:
        """After a fork the channels are the parent's: begin anew and never touch them."""
        inherited: list[object] = [*self._pools.values()]
        self._pools, self._recent = {}, None
        return inherited

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _cut(loop: asyncio.AbstractEventLoop, member: Member[grpc.aio.Channel]) -> None:
    with suppress(RuntimeError):  # the loop was closed, and its calls with it
        loop.call_soon_threadsafe(cut_calls, member.calls)


async def _any(changes: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait until one of the channels changes its state."""
    tasks = [asyncio.ensure_future(change) for change in changes]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
