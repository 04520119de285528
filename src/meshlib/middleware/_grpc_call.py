"""A blocking attempt, and the synchronous calls that do not block: streams and futures."""

import time
from typing import Any, Protocol

import grpc

from ..dataplane import Cause, Deliver, Failure, Outcome, Send
from ._drive import Runtime, drive
from ._grpc_pool import Member
from ._grpc_request import Draft
from ._grpc_status import LATE, OK, READY_BACKOFF, MeshRpcError, error_for, judge, unreached

READY = 2
FAILED = (3, 4)
"""Numbers of gRPC core's connectivity states: ready; transient failure and shutdown."""


class Method(Protocol):
    """What a call needs of the multicallable that made it."""

    runtime: Runtime

    def member(self, send: Send) -> Member[grpc.Channel]: ...

    def native(self, member: Member[grpc.Channel], path: str) -> Any: ...


class Attempt:
    """How one call is sent, blocking until there is an answer."""

    __slots__ = ("_draft", "_limit", "_member", "_message", "_method", "_options", "answer", "verb")

    def __init__(
        self,
        method: Method,
        message: Any,
        draft: Draft,
        options: tuple[Any, bool | None, Any],
        verb: str = "__call__",
    ) -> None:
        self._method = method
        self._message = message
        self._draft = draft
        self._options = options
        self.verb = verb
        self.answer: Any = None

    def start(self, send: Send, timeout: float | None) -> Any:
        """Call the native multicallable of the endpoint."""
        method = self._method
        member = self._member = method.member(send)
        self._limit = None if timeout is None else method.runtime.clock() + timeout - LATE
        credentials, wait, compression = self._options
        native = method.native(member, send.request.path)
        if self.verb != "__call__":
            native = getattr(native, self.verb)
        return native(
            self._message,
            timeout,
            self._draft.metadata(send),
            credentials,
            wait if send.endpoint is None else None,
            compression,
        )

    def __call__(self, send: Send) -> Outcome:
        try:
            self.answer = self.start(send, send.timeout)
        except grpc.RpcError as error:
            return self.judge(error)
        return OK

    def judge(self, error: Any) -> Outcome:
        return judge(
            error.code().value[0],
            error.details() or "",
            native=error,
            address=self._member.address,
            is_ready=lambda: connectivity(self._member.channel) == READY,
            is_late=self.is_late,
        )

    def is_late(self) -> bool:
        return self._limit is not None and self._method.runtime.clock() >= self._limit


class StreamingAttempt(Attempt):
    """Reads nothing of the requests before there is a connection."""

    __slots__ = ()

    def __call__(self, send: Send) -> Outcome:
        opened = self.opened(send)
        if not isinstance(opened, Send):
            return opened
        outcome = super().__call__(opened)
        if isinstance(outcome, Failure) and outcome.cause is Cause.CONNECT:
            return Failure(Cause.RESET, outcome.detail, 14, outcome.native)
        return outcome

    def opened(self, send: Send) -> Send | Failure:
        """The same attempt with a connection, and the time that is left for it."""
        if send.endpoint is None:
            return send
        clock = self._method.runtime.clock
        begun = clock()
        failure = connect(self._method.member(send), send.timeout)
        if failure is not None:
            return failure
        left = None if send.timeout is None else send.timeout - (clock() - begun)
        return Send(send.request, send.endpoint, left)


def blocking(runtime: Runtime, draft: Draft, attempt: Attempt, *, wait_for_ready: bool) -> Any:
    """Make a call, and return what the native call returned."""
    steps = runtime.outbound(draft.request)
    effect = runtime.step(steps, None)
    if type(effect) is Send:
        try:
            outcome = attempt(effect)
        except BaseException:
            runtime.close(steps)
            raise
        effect = runtime.conclude(steps, outcome)
        if outcome is OK and type(effect) is Deliver:
            return attempt.answer
    deliver = drive(runtime, steps, attempt, effect)
    runtime.finish(steps)
    if wait_for_ready and unreached(deliver):
        deliver = _when_ready(runtime, draft, attempt)
    error = error_for(deliver, MeshRpcError)
    if error is not None:
        raise error
    return attempt.answer


def _when_ready(runtime: Runtime, draft: Draft, attempt: Attempt) -> Deliver:
    """Call again and again until an endpoint can be reached, or no time is left."""
    pause, factor, longest = READY_BACKOFF
    while True:
        runtime.sleep(pause)
        pause = min(pause * factor, longest)
        steps = runtime.outbound(draft.request)
        deliver = drive(runtime, steps, attempt)
        runtime.finish(steps)
        if not unreached(deliver):
            return deliver


def connectivity(channel: grpc.Channel, *, connect: bool = False) -> int:
    """The state of a channel; grpcio offers it to asyncio channels only."""
    core: Any = channel._channel  # type: ignore[attr-defined]  # noqa: SLF001
    return int(core.check_connectivity_state(connect))


def connect(member: Member[grpc.Channel], timeout: float | None) -> Failure | None:
    """Wait for a connection to an endpoint; not a byte of the call is sent here."""
    limit = member.connect_timeout if timeout is None else min(timeout, member.connect_timeout)
    core: Any = member.channel._channel  # type: ignore[attr-defined]  # noqa: SLF001
    until = time.time() + limit  # noqa: TID251 - gRPC core waits until a moment of wall time
    while (state := connectivity(member.channel, connect=True)) != READY:
        if state in FAILED:
            return Failure(Cause.CONNECT, f"no connection to {member.address}", 14)
        if not core.watch_connectivity_state(state, until).success:
            if limit == timeout:
                return Failure(Cause.TIMEOUT, f"no connection to {member.address} in time", 4)
            return Failure(Cause.CONNECT, f"no connection to {member.address} in {limit:g} s", 14)
    return None
