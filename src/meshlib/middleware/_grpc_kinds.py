"""The kinds of synchronous calls that return before their answer is there."""

import threading
from collections.abc import Iterator
from typing import Any, Self

import grpc

from ..dataplane import Cause, Deliver, Effect, Failure, Outcome, Send
from ._grpc_attempt import StreamingAttempt
from ._grpc_beside import ended
from ._grpc_pending import PendingCall
from ._grpc_status import LOCALLY_CANCELLED, started, unreached


class UnaryFuture(PendingCall):
    verb = "future"

    def _begin(self, effect: Effect) -> None:
        self._driven = True
        if isinstance(effect, Send):
            self._start(effect)
            self._native.add_done_callback(self._answered)
        elif isinstance(effect, Deliver) and not self._patient:
            self._settle(effect)
        else:
            self._in_thread()

    def _answered(self, native: Any) -> None:
        """On gRPC's own thread: whatever takes longer goes to another."""
        try:
            effect = self._runtime.step(self._steps, self._outcome(native))
        except BaseException as error:  # noqa: BLE001 - it is the asking thread's to see
            self._abandon(error)
            return
        self._effect = effect
        if isinstance(effect, Deliver) and not (self._patient and unreached(effect)):
            self._settle(effect)
        else:
            self._in_thread()

    def _perform(self, send: Send) -> Outcome:
        self._start(send)
        over = threading.Event()
        self._native.add_done_callback(lambda _native: over.set())
        over.wait()
        return self._outcome(self._native)

    def _outcome(self, native: Any) -> Outcome:
        if self._cancelled:
            return Failure(Cause.CANCELLED, LOCALLY_CANCELLED, 1, native)
        return ended(self._attempts, native)


class StreamUnaryFuture(PendingCall):
    """Started only with a connection; what comes of it shows at its end."""

    attempt = StreamingAttempt
    verb = "future"

    @property
    def _stream(self) -> StreamingAttempt:
        assert isinstance(self._attempts, StreamingAttempt)
        return self._attempts

    def _begin(self, effect: Effect) -> None:
        self._driven = True
        if isinstance(effect, Deliver) and not self._patient:
            self._settle(effect)
        elif isinstance(effect, Send) and self._stream.is_open(effect):
            self._start(effect)
            deliver = self._runtime.step(self._steps, started(self._native))
            assert isinstance(deliver, Deliver)
            self._settle(deliver)
        else:
            self._in_thread()

    def _perform(self, send: Send) -> Outcome:
        opened = self._stream.opened(send)
        if not isinstance(opened, Send):
            return opened
        self._start(opened)
        return started(self._native)


class Reading(PendingCall, Iterator[Any]):
    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        self._wait()
        if self._error is not None:
            raise self._error
        try:
            return next(self._native)
        except grpc.RpcError as error:
            raise self._marked(error) from None

    def next(self) -> Any:
        return next(self)


class StreamStreamCall(Reading, StreamUnaryFuture):
    verb = "__call__"


NOTHING = object()


class UnaryStreamCall(Reading):
    """An attempt lasts until its first message, its end, or headers that the caller has seen."""

    _first: Any = NOTHING
    _seen = False

    def _begin(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self._start(effect)
        elif isinstance(effect, Deliver) and not self._patient:
            self._driven = True
            self._settle(effect)

    def _perform(self, send: Send) -> Outcome:
        if send is not self._sent:
            self._start(send)
        try:
            self._first = next(self._native)
        except StopIteration:
            return started(self._native)
        except grpc.RpcError as error:
            return started(self._native) if self._seen else self._attempts.judge(error)
        return started(self._native)

    def __next__(self) -> Any:
        self._wait()
        first = self._first
        if first is NOTHING or self._error is not None:
            return super().__next__()
        self._first = NOTHING
        return first

    def initial_metadata(self) -> Any:
        """Headers that came ahead of any message bind the call to this attempt."""
        native = self._native
        if native is not None and not self._driven:
            headers = native.initial_metadata()
            if headers:
                self._seen = True
                return headers
        return super().initial_metadata()
