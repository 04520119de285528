"""A delivered response: the call lives until its body ends, however it ends."""

import asyncio

from aiohttp import ClientResponse, StreamReader

from ..dataplane import CallRecord, Cause, Deliver, Failure, Outcome, Steps
from ._aiohttp_errors import MeshTimeoutError, cause_of
from ._aiohttp_socket import METERS
from ._drive import Runtime

SWITCHING_PROTOCOLS = 101


def hand_over(
    runtime: Runtime,
    steps: Steps[Outcome],
    delivery: Deliver,
    answer: ClientResponse,
    timer: asyncio.Timeout | None,
) -> None:
    """Let the application have the response, and hear of its end exactly once."""
    connection = answer.connection
    if connection is None:  # small bodies came along with the headers
        _count(delivery.record, answer.content)
        runtime.finish(steps)
        return
    tail = _Tail(runtime, steps, delivery.record, answer.content)
    # aiohttp calls this when the body was read, released, closed, or collected as garbage.
    connection.add_callback(tail)
    if answer.status == SWITCHING_PROTOCOLS:
        if (meter := delivery.record.request.meter) is not None:
            METERS[answer] = meter
        return
    when = timer.when() if timer is not None else None
    if when is not None:
        loop = asyncio.get_running_loop()
        tail.timer = loop.call_at(when, _expire, answer, delivery.record)


class _Tail:
    """The suspended steps of a call whose body is still on its way."""

    __slots__ = ("_content", "_record", "_runtime", "_steps", "timer")

    def __init__(
        self, runtime: Runtime, steps: Steps[Outcome], record: CallRecord, content: StreamReader
    ) -> None:
        self._runtime = runtime
        self._steps: Steps[Outcome] | None = steps
        self._record = record
        self._content = content
        self.timer: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        steps, self._steps = self._steps, None
        if steps is None:
            return
        if self.timer is not None:
            self.timer.cancel()
        _count(self._record, self._content)
        self._runtime.end(steps, self._ended())

    def __del__(self) -> None:
        # The loop was closed over an open response: nobody called.
        if self._steps is not None:
            _count(self._record, self._content)
            self._runtime.drop(self._steps)

    def _ended(self) -> Failure | None:
        """How the body ended; ``None``: whole, or the caller had enough of it."""
        error = None if self._content.is_eof() else self._content.exception()
        if not isinstance(error, Exception):
            return None
        cause = cause_of(error)
        if cause is None or cause is Cause.LOCAL:
            return None
        failure = Failure(cause, str(error), native=error)
        error.mesh = self._record.report(failure)  # type: ignore[attr-defined]
        return failure


def _count(record: CallRecord, content: StreamReader) -> None:
    meter = record.request.meter
    if meter is not None and content.total_bytes:  # what came over a WebSocket is no content
        meter.response_bytes = content.total_bytes


def _expire(answer: ClientResponse, record: CallRecord) -> None:
    late = Failure(Cause.TIMEOUT, f"the body from {record.request.target} took too long")
    answer.content.set_exception(MeshTimeoutError(record.report(late)))
    answer.close()
