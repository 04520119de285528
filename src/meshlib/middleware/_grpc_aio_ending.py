"""How a stream on an event loop ended, told to the steps of its call."""

import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..dataplane import Cause, Failure, Outcome, UpstreamEndpoint
from ._grpc_load import reported, tell
from ._grpc_status import BROKEN, judge

T = TypeVar("T")


class Ending:
    """Hears from a native stream how it ended, and tells the steps.

    It holds no call, so that a call that its caller dropped is noticed and cancelled.
    """

    __slots__ = (
        "_call",
        "_callbacks",
        "_limit",
        "_member",
        "_record",
        "_runtime",
        "_sent",
        "_steps",
    )

    def __init__(self, call: Any) -> None:
        self._call = weakref.ref(call)
        if call._callbacks is None:  # noqa: SLF001 - the other half of a call
            call._callbacks = []  # noqa: SLF001
        self._callbacks = call._callbacks  # noqa: SLF001
        self._runtime = call._runtime  # noqa: SLF001
        self._steps = call._steps  # noqa: SLF001
        self._member = call._member  # noqa: SLF001
        self._limit = call._limit  # noqa: SLF001
        self._sent = call._sent  # noqa: SLF001
        self._record = call._deliver.record  # noqa: SLF001

    def __call__(self, native: Any) -> None:
        status = at_once(native.code()).value[0]
        details = at_once(native.details()) or ""
        if native.cancelled() and not details.startswith(BROKEN):
            end: Outcome = Failure(Cause.CANCELLED, details, 1)
        else:
            end = judge(
                status,
                details,
                native=None,
                address=None,
                is_ready=lambda: True,
                is_late=lambda: self._limit is not None and self._runtime.clock() >= self._limit,
            )
        if self._sent is not None and (endpoint := self._sent.endpoint) is not None:
            self._listen(endpoint, native)
        self._runtime.end(self._steps, end)
        call = self._call()
        callbacks = self._callbacks[:]
        self._callbacks.clear()
        for callback in callbacks:
            callback(native if call is None else call)

    def _listen(self, endpoint: UpstreamEndpoint, native: Any) -> None:
        """Hear what the endpoint of a stream says of its load."""
        if endpoint.wants_trailers and not native.cancelled():
            trailing = at_once(native.trailing_metadata()) or ()
            heard = reported(self._runtime, endpoint, trailing)
            if heard is not None:
                tell(self._runtime, self._record, heard)


class WithResponse:
    """The end of a call with one response, whose status grpcio tells before that is read."""

    __slots__ = ("_ending",)

    def __init__(self, ending: Ending) -> None:
        self._ending: Ending | None = ending

    def __call__(self, native: Any) -> None:
        answering = getattr(native, "_call_response", None)
        if answering is None or answering.done():
            self.tell(native)
        else:
            answering.add_done_callback(lambda _: self.tell(native))

    def tell(self, native: Any) -> None:
        ending, self._ending = self._ending, None
        if ending is not None:
            ending(native)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise AssertionError("a finished call knows its status")
