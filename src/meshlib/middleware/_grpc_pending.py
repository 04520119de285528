"""Synchronous calls that return before their answer is there: futures and streams."""

import threading
import weakref
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

import grpc

from ..dataplane import (
    CallRecord,
    Cause,
    Deliver,
    Effect,
    Failure,
    Finish,
    Outcome,
    Race,
    Response,
    Send,
    Spawn,
    Steps,
)
from ..errors import CallReport
from ._drive import drive
from ._grpc_attempt import Attempt, Method
from ._grpc_beside import Beside
from ._grpc_load import tell
from ._grpc_request import Draft, pause, responded
from ._grpc_status import (
    LOCALLY_CANCELLED,
    READY_BACKOFF,
    MeshRpcError,
    error_for,
    judge,
    marked,
    unreached,
)


class PendingCall(grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """The first attempt starts at once; what follows runs on whatever thread brings it on."""

    attempt: type[Attempt] = Attempt
    verb = "__call__"
    _effect: Effect
    _native: Any = None
    _sent: Send | None = None
    _deliver: Deliver | None = None
    _error: BaseException | None = None
    _ending: "Ending | None" = None
    _cancelled = False
    _driven = False

    def __init__(
        self, method: Method, message: Any, draft: Draft, options: tuple[Any, bool | None, Any]
    ) -> None:
        self._draft = draft
        self._patient = bool(options[1])
        self._attempts = self.attempt(method, message, draft, options, self.verb)
        self._lock = threading.Lock()
        self._delivered = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        runtime = self._runtime = method.runtime
        self._method = method
        self._beside = Beside(runtime, self._attempts)
        steps = self._steps = runtime.outbound(draft.request)
        effect: Effect = runtime.step(steps, None)
        try:
            while isinstance(effect, Spawn):
                self._beside.spawn(effect.steps)
                effect = runtime.step(steps, None)
            self._effect = effect
            self._begin(effect)
        except BaseException:
            runtime.close(steps)
            self._delivered.set()
            raise

    @abstractmethod
    def _begin(self, effect: Effect) -> None:
        """Take the first effect up at once."""

    def _start(self, send: Send) -> None:
        self._sent = send
        self._native = self._attempts.start(send, send.timeout)

    @abstractmethod
    def _perform(self, send: Send) -> Outcome:
        """One attempt, blocking until it is known what comes of it."""

    def _checked(self, send: Send) -> Outcome:
        if self._cancelled:
            raise self._cancellation()
        outcome = self._perform(send)
        if self._cancelled:
            raise self._cancellation()
        return outcome

    def _cancellation(self) -> MeshRpcError:
        report = CallReport(host=self._draft.request.target, detail=LOCALLY_CANCELLED)
        return MeshRpcError(grpc.StatusCode.CANCELLED, report)

    def _in_thread(self) -> None:
        self._driven = True
        threading.Thread(target=self._drive, name="meshlib-grpc-call", daemon=True).start()

    def spawn(self, steps: Steps[Outcome]) -> None:
        self._beside.spawn(steps)

    def race(self, effect: Race) -> Finish | None:
        if self._cancelled:
            raise self._cancellation()
        finish = self._beside.race(effect)
        if self._cancelled:
            raise self._cancellation()
        return finish

    def _drive(self) -> None:
        """Bring the call to its delivery on this thread."""
        try:
            deliver = drive(self._runtime, self._steps, self._checked, self._effect, self)
            wait, factor, longest = READY_BACKOFF
            while self._patient and unreached(deliver):
                pause(self._runtime, self._steps, self._draft)
                self._beside.cancel()
                self._runtime.sleep(wait)
                wait = min(wait * factor, longest)
                self._steps = self._runtime.outbound(self._draft.request)
                deliver = drive(self._runtime, self._steps, self._checked, None, self)
        except BaseException as error:  # noqa: BLE001 - it is the asking thread's to see
            self._abandon(error)
        else:
            self._settle(deliver)

    def _settle(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._native = self._beside.settle(deliver) or self._native
        if self._attempts.load is not None:
            tell(self._runtime, deliver.record, self._attempts.load)
        error = error_for(deliver, MeshRpcError)
        if error is None and not is_whole(deliver):
            ending = self._ending = Ending(self, deliver.record)
            self._delivered.set()
            if not self._native.add_callback(ending):
                ending()
            return
        self._runtime.finish(self._steps)
        self._error = error
        self._over()

    def _abandon(self, error: BaseException) -> None:
        with self._lock:
            if self._delivered.is_set():
                return
            self._error = error
            self._delivered.set()
        self._runtime.close(self._steps)
        self._beside.cancel()
        self._over()

    def _over(self) -> None:
        self._delivered.set()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def _wait(self, timeout: float | None = None) -> None:
        """Be there when the answer is."""
        if self._delivered.is_set() or self._take():
            return
        if not self._delivered.wait(timeout):
            raise grpc.FutureTimeoutError

    def _take(self) -> bool:
        """Drive the call on this thread, unless somebody does already."""
        with self._lock:
            if self._driven:
                return False
            self._driven = True
        self._drive()
        return True

    def __del__(self) -> None:
        if "_effect" not in self.__dict__:
            return
        if self._ending is not None:
            self._ending.drop()
        elif not self._delivered.is_set():
            self._runtime.drop(self._steps)

    def cancel(self) -> bool:
        with self._lock:
            if self._delivered.is_set():
                cancelled = self._error is None and self._native.cancel()
                self._cancelled = self._cancelled or cancelled
                return bool(cancelled)
            self._cancelled = True
        if self._native is None or not self._native.cancel() or not self._driven:
            self._abandon(self._cancellation())
        return True

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        if not self._delivered.is_set():
            return self._cancelled
        return self._error is not None or bool(self._native.done())

    def running(self) -> bool:
        return not self.done()

    def is_active(self) -> bool:
        return not self.done()

    def time_remaining(self) -> Any:
        deadline = self._draft.request.deadline
        return None if deadline is None else max(deadline - self._runtime.clock(), 0.0)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        if self.done():
            return False
        self._callbacks.append(callback)
        return True

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        if not self.add_callback(partial(fn, self)):
            fn(self)

    def _ask(self, what: str) -> Any:
        self._wait()
        error = self._error
        if error is not None and not isinstance(error, grpc.RpcError):
            raise error
        return getattr(error or self._native, what)()

    def initial_metadata(self) -> Any:
        headers = self._ask("initial_metadata")
        respond = self._deliver.record.respond if self._deliver is not None else None
        if respond is None or self._error is not None:
            return headers  # an error tells its own already as they are to be seen
        return responded(headers, respond)

    def trailing_metadata(self) -> Any:
        return self._ask("trailing_metadata")

    def code(self) -> Any:
        return self._ask("code")

    def details(self) -> Any:
        return self._ask("details")

    def debug_error_string(self) -> Any:
        return self._ask("debug_error_string")

    def result(self, timeout: float | None = None) -> Any:
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._native.result()

    def exception(self, timeout: float | None = None) -> Any:
        self._wait(timeout)
        if self._cancelled:
            raise grpc.FutureCancelledError
        if self._error is not None:
            return self._error
        error = self._native.exception(timeout)
        return None if error is None else self._marked(error)

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        error = self.exception(timeout)
        return None if error is None else error.__traceback__

    def _marked(self, error: Any) -> Any:
        """An error of a delivered stream, with what the mesh knows of the call."""
        if self._deliver is None or hasattr(error, "mesh"):
            return error
        deliver = Deliver(self._attempts.judge(error), self._deliver.record)
        made = marked(error, deliver, MeshRpcError)
        if made is not error:
            self._error = made
        return made


class Ending:
    """Hears from a native stream how it ended, and tells the steps.

    It holds neither call: when their caller drops them they are noticed and cancelled.
    """

    def __init__(self, call: PendingCall, record: CallRecord) -> None:
        self._native = weakref.ref(call._native)  # noqa: SLF001 - the other half of a call
        self._callbacks = call._callbacks  # noqa: SLF001
        self._runtime = call._runtime  # noqa: SLF001
        self._steps = call._steps  # noqa: SLF001
        self._attempts = call._attempts  # noqa: SLF001
        self._record = record
        self._told = False

    def __call__(self) -> None:
        native = self._native()
        if native is None or native.cancelled():
            self._tell(Failure(Cause.CANCELLED, LOCALLY_CANCELLED, 1))
        else:
            if self._attempts.heard(native) and self._attempts.load is not None:
                tell(self._runtime, self._record, self._attempts.load)
            self._tell(
                judge(
                    native.code().value[0],
                    native.details() or "",
                    native=None,
                    address=None,
                    is_ready=lambda: True,
                    is_late=self._attempts.is_late,
                )
            )
        callbacks = self._callbacks[:]
        self._callbacks.clear()
        for callback in callbacks:
            callback()

    def drop(self) -> None:
        """The caller let go of the call; gRPC cancels it for the same reason."""
        self._tell(Failure(Cause.CANCELLED, LOCALLY_CANCELLED, 1))

    def _tell(self, end: Outcome) -> None:
        if not self._told:
            self._told = True
            self._runtime.end(self._steps, end)


def is_whole(deliver: Deliver) -> bool:
    """Is the answer complete, with no stream to follow?"""
    outcome = deliver.outcome
    return isinstance(outcome, Response) and outcome.grpc_status is not None
