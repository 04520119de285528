"""A call on an event loop: the task that awaits it drives it, or a task of its own does."""

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio

from ..dataplane import (
    Cause,
    Deliver,
    Effect,
    Failure,
    Finish,
    Meter,
    Outcome,
    Race,
    Send,
    Spawn,
    Steps,
)
from ._drive import Runtime, adrive
from ._grpc_aio_beside import AioRace, spawn
from ._grpc_aio_ending import Ending
from ._grpc_load import Heard, reported, tell
from ._grpc_pool import Member, Pool, metered
from ._grpc_request import Draft, headers_of, pause, ready_made, responded
from ._grpc_status import (
    LATE,
    LOCALLY_CANCELLED,
    OK,
    READY_BACKOFF,
    AioMeshRpcError,
    error_for,
    judge,
    marked,
    succeeded,
    unreached,
    witnessed,
)

T = TypeVar("T")


class Method(Protocol):
    """What a call needs of the multicallable that made it."""

    runtime: Runtime

    def sending(self, member: Any, path: str, meter: Meter, message: Any) -> tuple[Any, Any]: ...


class Call(grpc.aio.Call):
    """What all four kinds share: the way to the delivery, and what is known after it."""

    _native: Any = None
    _member: Member[grpc.aio.Channel] | None = None
    _sent: Send | None = None
    _limit: float | None = None
    _error: BaseException | None = None
    _deliver: Deliver | None = None
    _task: asyncio.Task[None] | None = None
    _over: asyncio.Future[None] | None = None
    _driven = False
    _delivered = False
    _cancelled = False
    _callbacks: list[Callable[[Any], None]] | None = None
    _race: AioRace | None = None
    _load: Heard | None = None

    def __init__(
        self,
        method: Method,
        place: tuple[asyncio.AbstractEventLoop, Pool[grpc.aio.Channel]],
        message: Any,
        draft: Draft,
        options: tuple[Any, bool | None, Any],
    ) -> None:
        self._method = method
        self._loop, self._pool = place
        self._request = message
        self._draft = draft
        self._options = options
        runtime = self._runtime = method.runtime
        steps = self._steps = runtime.outbound(draft.request)
        try:
            effect = self._effect = runtime.step(steps, None)
            if type(effect) is Send:
                self._begin(effect)
            elif type(effect) is Deliver and not options[1]:
                self._settle(effect)
            else:
                self._set_out(effect)
        except BaseException:
            runtime.close(steps)
            self._delivered = True
            raise

    def _start(self, send: Send, member: Member[grpc.aio.Channel] | None = None) -> None:
        """Start an attempt on the endpoint's own channel."""
        self._member = member = member or self._pool.member(send)
        timeout = send.timeout
        self._sent = send
        if timeout is not None:
            self._limit = self._runtime.clock() + timeout - LATE
        credentials, wait, compression = self._options
        path, meter = send.request.path, metered(send, member)
        native, message = self._method.sending(member, path, meter, self._request)
        self._native = native(
            message,
            timeout=timeout,
            metadata=ready_made(self._draft.metadata(send, self._runtime.propagation)),
            credentials=credentials,
            wait_for_ready=wait if send.endpoint is None else None,
            compression=compression,
        )
        if member.held is not None:
            member.calls.add(self._native)

    _begin = _start
    """The first step is taken at once: who only fires a call has fired it."""

    def _set_out(self, effect: Effect) -> None:
        """Something comes before the first attempt: it is begun at once, too."""
        while type(effect) is Spawn:
            self.spawn(effect.steps)
            effect = self._effect = self._runtime.step(self._steps, None)
        if type(effect) is Send:
            self._begin(effect)
        elif type(effect) is Deliver and not self._options[1]:
            self._settle(effect)
        else:
            self._touch()

    def spawn(self, steps: Steps[Outcome]) -> None:
        spawn(self._runtime, self._lane(), steps, self._pool.shadows)

    async def race(self, effect: Race) -> Finish | None:
        if self._race is None:
            self._race = AioRace(self._lane)
        return await self._race.race(effect)

    def _lane(self) -> "Call":
        raise AssertionError("a stream is neither hedged nor mirrored")

    @abstractmethod
    async def _attempt(self, send: Send) -> Outcome:
        """Make one attempt, and say what came of it."""

    def _judge(self, error: grpc.aio.AioRpcError) -> Outcome:
        if self._member is not None and self._member.refusal:
            return Failure(Cause.CONNECT, self._member.refusal, 14, error)
        outcome = judge(
            error.code().value[0],
            error.details() or "",
            native=error,
            address=self._member.address if self._member else None,
            is_ready=self._is_ready,
            is_late=self._is_late,
        )
        return witnessed(outcome, error, self._runtime.binary_metadata, self._sent)

    def _is_ready(self) -> bool:
        member = self._member
        return member is None or member.channel.get_state() is grpc.ChannelConnectivity.READY

    def _is_late(self) -> bool:
        return self._limit is not None and self._runtime.clock() >= self._limit

    async def _delivery(self) -> None:
        """Get there: this task makes the first attempt, whatever follows has its own task."""
        if self._driven or type(self._effect) is not Send:
            self._touch()
            await self._join()
            return
        self._driven = True
        try:
            outcome = await self._attempt(self._effect)
            effect = self._runtime.step(self._steps, outcome)
        except BaseException as error:
            self._abandon(error)
            raise
        if not self._closes(effect):
            await self._join()

    def _closes(self, effect: Effect) -> bool:
        """Is this the delivery? Otherwise a task takes over what follows the first attempt."""
        if type(effect) is Deliver and not self._unreached(effect):
            self._settle(effect)
            return True
        self._effect = effect
        self._driven = False
        self._touch()
        return False

    def _touch(self) -> None:
        """See to it that the call gets on although nobody awaits it."""
        if not self._driven and not self._delivered:
            self._driven = True
            self._task = self._loop.create_task(self._drive())

    async def _drive(self) -> None:
        try:
            deliver = await adrive(self._runtime, self._steps, self._attempt, self._effect, self)
            wait, factor, longest = READY_BACKOFF
            while self._unreached(deliver):
                pause(self._runtime, self._steps, self._draft)
                if self._race is not None:
                    self._race.cancel()
                await self._runtime.asleep(wait)
                wait = min(wait * factor, longest)
                self._steps = self._runtime.outbound(self._draft.request)
                deliver = await adrive(self._runtime, self._steps, self._attempt, None, self)
        except BaseException as error:  # noqa: BLE001 - it is the awaiting task's to see
            self._abandon(error)
        else:
            self._settle(deliver)

    def _unreached(self, deliver: Deliver) -> bool:
        return bool(self._options[1]) and unreached(deliver)

    async def _join(self) -> None:
        """Wait for the delivery that another task drives; to be cancelled here cancels the call."""
        try:
            await self._delivered_elsewhere()
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _delivered_elsewhere(self) -> None:
        while not self._delivered:
            await asyncio.wait((self._future(),))

    def _future(self) -> asyncio.Future[None]:
        if self._over is None:
            self._over = self._loop.create_future()
        return self._over

    def _settle(self, deliver: Deliver) -> None:
        self._delivered = True
        self._deliver = deliver
        winner = None if self._race is None else self._race.settle(deliver)
        if winner is not None:
            self._take_over(winner)
        if self._load is not None:
            tell(self._runtime, deliver.record, self._load)
        error = None if deliver.outcome is OK else error_for(deliver, AioMeshRpcError)
        if error is None:
            self._opened()
        else:
            self._error = error
            self._runtime.finish(self._steps)
            self._ended()
        if self._over is not None:
            self._wake()

    def _take_over(self, winner: Any) -> None:
        """The attempt that won a race is this call's."""

    def _heard(self, send: Send, trailing: Any) -> Outcome:
        """The trailers of an answer whose endpoint is asked for them."""
        assert send.endpoint is not None
        self._load = reported(self._runtime, send.endpoint, trailing)
        return succeeded(self._native, headers_of(trailing))

    def _opened(self) -> None:
        """The answer is there, or its stream has begun: tell the steps when it ends."""
        self._native.add_done_callback(Ending(self))

    def _abandon(self, error: BaseException) -> None:
        """Cancelled, or broken by the caller's own code."""
        if self._delivered:
            return
        self._delivered = True
        self._runtime.close(self._steps)
        if self._race is not None:
            self._race.cancel()
        if self._native is not None:
            self._native.cancel()
        if isinstance(error, asyncio.CancelledError):
            self._cancelled = True
        self._error = error
        self._ended()
        self._wake()

    def _wake(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _ended(self) -> None:
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback(self)

    def _raise(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError
        if self._error is not None:
            raise self._error

    def _marked(self, error: grpc.aio.AioRpcError) -> grpc.RpcError:
        """An error of a delivered stream, with what the mesh knows of the call."""
        if self._deliver is None or hasattr(error, "mesh"):
            return error
        deliver = Deliver(self._judge(error), self._deliver.record)
        made = marked(error, deliver, AioMeshRpcError)
        if made is not error:
            self._error = made
        return made

    def __del__(self) -> None:
        """Fired and forgotten: the attempt on its way runs on, but nobody waits for it."""
        if not self._delivered and "_steps" in self.__dict__:
            self._runtime.drop(self._steps)

    def _cancel_native(self) -> None:
        native, loop = self._native, self._loop
        if native is None or loop.is_closed():
            return
        if asyncio._get_running_loop() is loop:  # noqa: SLF001 - finalisers run anywhere
            native.cancel()
            return
        try:
            loop.call_soon_threadsafe(native.cancel)
        except RuntimeError:
            return  # closed meanwhile, and its calls with it

    def cancel(self) -> bool:
        if self._delivered:
            cancelled = self._error is None and self._native.cancel()
            self._cancelled = self._cancelled or cancelled
            return bool(cancelled)
        if self._task is not None:
            return self._task.cancel()
        if self._driven:
            return bool(self._native.cancel())
        self._abandon(asyncio.CancelledError())
        return True

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        if not self._delivered:
            self._touch()
            return False
        return self._error is not None or self._native.done()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._delivered and self.done():
            callback(self)
            return
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)
        self._touch()

    def time_remaining(self) -> float | None:
        deadline = self._draft.request.deadline
        return None if deadline is None else max(deadline - self._runtime.clock(), 0.0)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        headers = await self._ask("initial_metadata", grpc.aio.Metadata())
        respond = self._deliver.record.respond if self._deliver is not None else None
        if respond is None or isinstance(self._error, AioMeshRpcError):
            return headers  # the mesh's own errors tell them as they are to be seen
        return responded(headers, respond)  # type: ignore[no-any-return]

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return await self._ask("trailing_metadata", grpc.aio.Metadata())

    async def code(self) -> grpc.StatusCode:
        return await self._ask("code", grpc.StatusCode.CANCELLED)

    async def details(self) -> str:
        return await self._ask("details", LOCALLY_CANCELLED)

    async def debug_error_string(self) -> str:
        return await self._ask("debug_error_string", "")

    async def _ask(self, what: str, if_cancelled: T) -> T:
        """Ask the mesh's own error if it is one, else the native call."""
        if not self._delivered:
            self._touch()
            await self._delivered_elsewhere()
        error = self._error
        if isinstance(error, AioMeshRpcError):
            return getattr(error, what)()  # type: ignore[no-any-return]
        if error is not None and not isinstance(error, grpc.RpcError):
            if self._cancelled:
                return if_cancelled
            raise error
        return await getattr(self._native, what)()  # type: ignore[no-any-return]

    async def wait_for_connection(self) -> None:
        await self.initial_metadata()
        if self._delivered:
            self._raise()
