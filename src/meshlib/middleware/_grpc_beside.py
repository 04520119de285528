"""What a synchronous call does beside the attempt it waits for: hedging, and mirrored calls.

Both go over native futures, whose ends gRPC's own threads tell.
"""

import logging
import threading
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from ..dataplane import Deliver, Effect, Finish, Outcome, Race, Send, Steps
from ._drive import Runtime
from ._grpc_attempt import Attempt
from ._grpc_status import succeeded

log = logging.getLogger("meshlib")


class Beside:
    """Belongs to one unary call; ``attempt`` is how that call is sent."""

    __slots__ = ("_attempt", "_attempts", "_ended", "_runtime")

    def __init__(self, runtime: Runtime, attempt: Attempt) -> None:
        self._runtime = runtime
        self._attempt = attempt
        self._attempts: list[tuple[Attempt, Any]] = []
        self._ended: SimpleQueue[int] = SimpleQueue()

    def spawn(self, steps: Steps[Outcome]) -> None:
        Shadow(self._runtime, self._attempt.another(), steps).go()

    def race(self, effect: Race) -> Finish | None:
        if effect.send is not None:
            self._begin(effect.send)
        timeout = None if effect.timeout is None else max(effect.timeout, 0.0)
        try:
            number = self._ended.get(timeout=timeout)
        except Empty:
            return None
        return Finish(number, ended(*self._attempts[number]))

    def _begin(self, send: Send) -> None:
        number, attempt, tell = len(self._attempts), self._attempt.another(), self._ended.put
        native = attempt.begun(send)
        self._attempts.append((attempt, native))
        native.add_done_callback(lambda _native: tell(number))

    def settle(self, deliver: Deliver) -> Any:
        """Cancel the losers; the winner's native call, ``None`` where there was no race."""
        winner = None
        for attempt, native in self._attempts:
            if native is deliver.outcome.native:
                winner, self._attempt.load = native, attempt.load
            else:
                native.cancel()
        return winner

    def cancel(self) -> None:
        """The call is over before anyone won, or begins anew."""
        attempts, self._attempts = self._attempts, []
        self._ended = SimpleQueue()
        for _, native in attempts:
            native.cancel()


class Shadow:
    """A mirrored call: nobody waits for it, and what comes of it changes nothing."""

    def __init__(self, runtime: Runtime, attempt: Attempt, steps: Steps[Outcome]) -> None:
        self._runtime = runtime
        self._attempt = attempt
        self._steps = steps

    def go(self, answer: object = None) -> None:
        try:
            self._take_up(self._runtime.step(self._steps, answer))
        except Exception:
            self._runtime.close(self._steps)
            log.debug("a mirrored call broke off", exc_info=True)

    def _take_up(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._attempt.begun(effect).add_done_callback(self._answered)
            case Deliver():
                self._runtime.finish(self._steps)
            case _:
                # The core bounds how many there are, and mostly they have nothing to wait for.
                waiting = threading.Thread(
                    target=self._wait, args=(effect,), name="meshlib-grpc-mirror", daemon=True
                )
                waiting.start()

    def _answered(self, native: Any) -> None:
        try:
            outcome = ended(self._attempt, native)
        except Exception:
            self._runtime.close(self._steps)
            log.debug("a mirrored call broke off", exc_info=True)
        else:
            self.go(outcome)

    def _wait(self, effect: Any) -> None:
        self.go(self._runtime.block(effect))


def ended(attempt: Attempt, native: Any) -> Outcome:
    """What came of an attempt, when its future is done."""
    if native.code() is grpc.StatusCode.OK:
        return succeeded(native, attempt.heard(native))
    return attempt.judge(native)
