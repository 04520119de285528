"""How one attempt of a synchronous call is sent."""

import time
from copy import copy
from functools import partial
from typing import Any, ClassVar, NoReturn, Protocol, Self

import grpc

from ..dataplane import Cause, Deliver, Failure, Headers, Meter, Outcome, Send
from ._drive import Runtime
from ._grpc_load import Heard, reported
from ._grpc_meter import noted
from ._grpc_pool import Member, metered
from ._grpc_request import Draft, headers_of
from ._grpc_status import LATE, OK, judge, respond_through, succeeded, witnessed

READY = 2
CLOSED = 4
FAILED = (3, CLOSED)
"""Numbers of gRPC core's connectivity states: ready; transient failure and shutdown."""


class Method(Protocol):
    """What a call needs of the multicallable that made it."""

    runtime: Runtime
    kind: ClassVar[str]
    elsewhere: Any

    def member(self, send: Send) -> Member[grpc.Channel]: ...

    def native(self, member: Member[grpc.Channel], path: str, meter: Meter) -> Any: ...

    def lasting(self, member: Member[grpc.Channel], path: str) -> Any: ...


class Attempt:
    """How one call is sent, blocking until there is an answer."""

    __slots__ = (
        "_draft",
        "_limit",
        "_member",
        "_message",
        "_method",
        "_options",
        "_send",
        "answer",
        "load",
        "verb",
    )

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
        self.load: Heard | None = None

    def another(self) -> Self:
        """The same call once more, as a future."""
        other = copy(self)
        other.verb = "future"
        other.load = None
        return other

    def start(
        self, send: Send, timeout: float | None, member: Member[grpc.Channel] | None = None
    ) -> Any:
        """Call the native multicallable of the endpoint."""
        method = self._method
        self._send = send
        if member is None:
            member = method.member(send)
        self._member = member
        self._limit = None if timeout is None else method.runtime.clock() + timeout - LATE
        credentials, wait, compression = self._options
        meter, message = metered(send, member), self._message
        if method.kind == "unary_unary" and self.verb != "future":
            native = method.lasting(member, send.request.path)
            if native is not method.elsewhere:
                message = (meter, message)
        else:
            native = method.native(member, send.request.path, meter)
        if self.verb != "__call__":
            native = getattr(native, self.verb)
        metadata = self._draft.metadata(send, method.runtime.propagation)
        patience = wait if send.endpoint is None else None
        try:
            return native(message, timeout, metadata, credentials, patience, compression)
        except ValueError:
            if not member.is_cut:
                raise
            # Just now: nothing was sent, so it goes to whom the endpoint is believed to be now.
            fresh = method.member(send)
            if fresh is member:
                raise
            return self.start(send, timeout, fresh)

    def begun(self, send: Send) -> Any:
        """The future of an attempt; grpcio's errors are ended futures, too."""
        try:
            return self.start(send, send.timeout)
        except grpc.RpcError as error:
            return error

    def __call__(self, send: Send) -> Outcome:
        endpoint = send.endpoint
        if endpoint is not None and endpoint.wants_trailers:
            return self._attentive(send)
        try:
            self._note(self.start(send, send.timeout), self.verb)
        except grpc.RpcError as error:
            return self.judge(error)
        return OK

    def _note(self, answer: Any, verb: str) -> None:
        """Keep the answer, and count it."""
        meter, clock = self._send.request.meter, self._method.runtime.clock
        assert meter is not None
        if verb == "__call__":
            self.answer = noted(answer, meter, clock)
            return
        message, call = answer
        made = noted(message, meter, clock)
        if made is not message:
            call.result = partial(_known, made)
        self.answer = (made, call)

    def _attentive(self, send: Send) -> Outcome:
        """Make the attempt so that its trailers are seen."""
        verb, self.verb = self.verb, "with_call"
        try:
            answer = self.start(send, send.timeout)
        except grpc.RpcError as error:
            return self.judge(error)
        finally:
            self.verb = verb
        self._note(answer, "with_call")
        if verb != "with_call":
            self.answer = self.answer[0]
        return succeeded(answer[1], self.heard(answer[1]))

    def heard(self, native: Any) -> Headers:
        """The trailers of an ended call, if anybody wants them; its load report is kept."""
        endpoint = self._send.endpoint
        if endpoint is None or not endpoint.wants_trailers:
            return ()
        trailing = native.trailing_metadata() or ()
        self.load = reported(self._method.runtime, endpoint, trailing)
        return headers_of(trailing)

    def seen(self, deliver: Deliver) -> Any:
        """The answer, with the response headers as the application is to see them."""
        if self.verb == "with_call" and deliver.record.respond is not None:
            respond_through(self.answer[1], deliver.record.respond)
        return self.answer

    def judge(self, error: Any) -> Outcome:
        if self._member.refusal:
            return Failure(Cause.CONNECT, self._member.refusal, 14, error)
        outcome = judge(
            error.code().value[0],
            error.details() or "",
            native=error,
            address=self._member.address,
            is_ready=lambda: connectivity(self._member.channel) == READY,
            is_late=self.is_late,
        )
        return witnessed(outcome, error, self._method.runtime.binary_metadata, self._send)

    def is_late(self) -> bool:
        return self._limit is not None and self._method.runtime.clock() >= self._limit


def _known(answer: Any, timeout: float | None = None) -> Any:
    """The result of a call that has ended."""
    return answer


class StreamingAttempt(Attempt):
    """Reads nothing of the requests before there is a connection."""

    __slots__ = ("_connected",)

    def __init__(self, *call: Any) -> None:
        super().__init__(*call)
        self._connected: Member[grpc.Channel] | None = None

    def start(
        self, send: Send, timeout: float | None, member: Member[grpc.Channel] | None = None
    ) -> Any:
        """Over the very connection that was waited for."""
        connected, self._connected = self._connected, None
        return super().start(send, timeout, member or connected)

    def is_open(self, send: Send) -> bool:
        if send.endpoint is None:
            return True
        member = self._connected = self._method.member(send)
        return connectivity(member.channel) == READY

    def another(self) -> NoReturn:
        raise AssertionError("a stream of requests is neither hedged nor mirrored")

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
        member, self._connected = self._connected or self._method.member(send), None
        failure = connect(member, send.timeout)
        if failure is not None:
            return failure
        self._connected = member
        left = None if send.timeout is None else send.timeout - (clock() - begun)
        return Send(send.request, send.endpoint, left)


def connectivity(channel: grpc.Channel, *, connect: bool = False) -> int:
    """The state of a channel; grpcio offers it to asyncio channels only."""
    core: Any = channel._channel  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        return int(core.check_connectivity_state(connect))
    except ValueError:
        return CLOSED


def connect(member: Member[grpc.Channel], timeout: float | None) -> Failure | None:
    """Wait for a connection to an endpoint; not a byte of the call is sent here."""
    if member.refusal:
        return Failure(Cause.CONNECT, member.refusal, 14)
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
