"""The four kinds of calls on event loops."""

import asyncio
from collections.abc import AsyncIterator, Generator
from copy import copy
from typing import Any

import grpc
import grpc.aio

from ..dataplane import Cause, Deliver, Failure, Outcome, Send
from ._grpc_aio_call import Call
from ._grpc_aio_ending import Ending, WithResponse
from ._grpc_meter import noted
from ._grpc_pool import Member
from ._grpc_status import OK, started
from ._tls_lines import REVOKED

NOTHING = object()


class UnaryUnaryCall(Call, grpc.aio.UnaryUnaryCall[Any, Any]):
    """Its first attempt is awaited right here; only what follows is worth a task."""

    _message: Any = None

    async def _attempt(self, send: Send) -> Outcome:
        if send is not self._sent:
            self._start(send)
        try:
            self._message = self._noted(send, await self._native)
        except grpc.aio.AioRpcError as error:
            return self._judge(error)
        if send.endpoint is not None and send.endpoint.wants_trailers:
            return self._heard(send, await self._native.trailing_metadata())
        return OK

    def _noted(self, send: Send, answer: Any) -> Any:
        meter = send.request.meter
        assert meter is not None
        return noted(answer, meter, self._runtime.clock)

    def _lane(self) -> "UnaryUnaryCall":
        lane = copy(self)
        lane._delivered = True  # noqa: SLF001 - what it takes to be no call of its own
        lane._native = lane._sent = lane._race = lane._task = lane._over = None  # noqa: SLF001
        lane._callbacks = None  # noqa: SLF001
        return lane

    def _take_over(self, winner: "UnaryUnaryCall") -> None:
        self._native, self._member = winner._native, winner._member  # noqa: SLF001
        self._limit, self._message = winner._limit, winner._message  # noqa: SLF001
        self._load = winner._load  # noqa: SLF001

    def _opened(self) -> None:
        self._runtime.finish(self._steps)
        if self._callbacks is not None:
            self._ended()

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._delivered:
            if self._driven or type(self._effect) is not Send:
                yield from self._delivery().__await__()
            else:
                self._driven = True
                outcome: Outcome = OK
                try:
                    try:
                        answer = yield from self._native.__await__()
                        self._message = self._noted(self._effect, answer)
                        endpoint = self._effect.endpoint
                        if endpoint is not None and endpoint.wants_trailers:
                            trailing = yield from self._native.trailing_metadata().__await__()
                            outcome = self._heard(self._effect, trailing)
                    except grpc.aio.AioRpcError as error:
                        outcome = self._judge(error)
                    runtime, is_patient = self._runtime, bool(self._options[1])
                    conclude = runtime.step if is_patient else runtime.conclude
                    effect = conclude(self._steps, outcome)
                except BaseException as error:
                    self._abandon(error)
                    raise
                is_simple = self._over is None and self._callbacks is None
                if outcome is OK and is_simple and not is_patient:
                    self._delivered = True
                    assert isinstance(effect, Deliver)
                    self._deliver = effect
                    return self._message
                if not self._closes(effect):
                    yield from self._join().__await__()
        if self._error is not None:
            self._raise()
        return self._message


class Reading(Call):
    """A call with a stream of responses, read by ``async for`` or by ``read()``."""

    _iterated: bool | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        self._style(iterated=True)
        return self

    async def __anext__(self) -> Any:
        message = await self._next()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message

    async def read(self) -> Any:
        self._style(iterated=False)
        return await self._next()

    def _style(self, *, iterated: bool) -> None:
        if self._iterated is None:
            self._iterated = iterated
        elif self._iterated is not iterated:
            raise grpc.aio.UsageError("a call is either iterated over or read from, not both")

    async def _next(self) -> Any:
        if not self._delivered:
            await self._delivery()
        if self._error is not None:
            self._raise()
        try:
            return await self._native.read()
        except grpc.aio.AioRpcError as error:
            raise self._marked(error) from None

    def __del__(self) -> None:
        super().__del__()
        self._cancel_native()


class UnaryStreamCall(Reading, grpc.aio.UnaryStreamCall[Any, Any]):
    """An attempt lasts until its first message, its end, or headers that the caller has seen."""

    _first: Any = NOTHING
    _seen = False

    async def _attempt(self, send: Send) -> Outcome:
        if send is not self._sent:
            self._start(send)
        native = self._native
        try:
            self._first = await native.read()
        except grpc.aio.AioRpcError as error:
            if self._seen:
                return started(native)
            return self._judge(error)
        return started(native)

    async def _next(self) -> Any:
        if not self._delivered:
            await self._delivery()
        first = self._first
        if first is NOTHING or self._error is not None:
            return await super()._next()
        if first is not grpc.aio.EOF:
            self._first = NOTHING
        return first

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """Headers that came ahead of any message bind the call to this attempt."""
        while not self._delivered:
            self._touch()
            native = self._native
            if native is None:
                await self._delivered_elsewhere()
                continue
            headers = await self._headers_of(native)
            if headers and native is self._native:
                self._seen = True
                return headers
        return await super().initial_metadata()

    async def _headers_of(self, native: Any) -> grpc.aio.Metadata | None:
        """The headers of an attempt, if it has any before it is delivered."""
        arriving = asyncio.ensure_future(native.initial_metadata())
        try:
            await asyncio.wait((arriving, self._future()), return_when=asyncio.FIRST_COMPLETED)
            if arriving.done() and len(arriving.result()):
                return arriving.result()  # type: ignore[no-any-return]
            await asyncio.wait((self._future(),))
        finally:
            arriving.cancel()
        return None


class Writing(Call):
    """A call with a stream of requests: nothing of it is read before there is a connection."""

    _waiting: Member[grpc.aio.Channel] | None = None

    def _begin(self, send: Send, member: Member[grpc.aio.Channel] | None = None) -> None:
        member = member or self._pool.member(send)
        if send.endpoint is not None and not is_connected(member):
            self._waiting = member
            self._touch()
            return
        self._start(send, member)
        deliver = self._runtime.step(self._steps, started(self._native))
        assert isinstance(deliver, Deliver)
        self._settle(deliver)

    async def _attempt(self, send: Send) -> Outcome:
        member = self._waiting or self._pool.member(send)
        self._waiting = None
        left = send.timeout
        if send.endpoint is not None:
            begun = self._runtime.clock()
            failure = await connect(member, left)
            if failure is not None:
                return failure
            if left is not None:
                left -= self._runtime.clock() - begun
        self._start(Send(send.request, send.endpoint, left), member)
        return started(self._native)

    async def _native_call(self) -> Any:
        if not self._delivered:
            await self._delivery()
        if self._error is not None:
            self._raise()
        return self._native

    async def write(self, request: Any) -> None:
        native = self._native if self._delivered else await self._native_call()
        if self._error is not None:
            self._raise()
        try:
            await native.write(request)
        except grpc.aio.AioRpcError as error:
            raise self._marked(error) from None

    @property
    def _done_writing_flag(self) -> bool:
        """Asked for by grpcio where an interceptor returned this call."""
        return bool(getattr(self._native, "_done_writing_flag", False))

    async def done_writing(self) -> None:
        native = await self._native_call()
        await native.done_writing()

    def __del__(self) -> None:
        super().__del__()
        self._cancel_native()


class StreamUnaryCall(Writing, grpc.aio.StreamUnaryCall[Any, Any]):
    _ending: WithResponse | None = None

    def _opened(self) -> None:
        self._ending = WithResponse(Ending(self))
        self._native.add_done_callback(self._ending)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        native = await self._native_call()
        try:
            return await native
        except grpc.aio.AioRpcError as error:
            raise self._marked(error) from None
        finally:
            if self._ending is not None and native.done():
                self._ending.tell(native)


class StreamStreamCall(Writing, Reading, grpc.aio.StreamStreamCall[Any, Any]):
    pass


def is_connected(member: Member[grpc.aio.Channel]) -> bool:
    return member.channel.get_state() is grpc.ChannelConnectivity.READY


async def connect(member: Member[grpc.aio.Channel], timeout: float | None) -> Failure | None:  # noqa: ASYNC109 - of the effect
    """Wait for a connection to an endpoint; not a byte of the call is sent here."""
    if member.refusal:
        return Failure(Cause.CONNECT, member.refusal, 14)
    channel = member.channel
    ready, failed = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE
    limit = member.connect_timeout if timeout is None else min(timeout, member.connect_timeout)
    try:
        async with asyncio.timeout(limit):
            while (state := channel.get_state(try_to_connect=True)) is not ready:
                if state in (failed, grpc.ChannelConnectivity.SHUTDOWN):
                    return Failure(Cause.CONNECT, f"no connection to {member.address}", 14)
                await channel.wait_for_state_change(state)
    except TimeoutError:
        if limit == timeout:
            return Failure(Cause.TIMEOUT, f"no connection to {member.address} in time", 4)
        return Failure(Cause.CONNECT, f"no connection to {member.address} in {limit:g} s", 14)
    return Failure(Cause.CONNECT, REVOKED, 14) if member.is_cut else None
