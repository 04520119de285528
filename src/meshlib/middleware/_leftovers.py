"""What calls leave to be done when the lock is free, or when it is let go of."""

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

log = logging.getLogger("meshlib")
LINGER = 1.0  # seconds; closing channels ends calls, and gRPC's threads tell of it a little later


class Leftovers:
    """``dropped`` is done under the lock, ``afterwards`` without it."""

    def __init__(self, afterwards: deque[Callable[[], None]]) -> None:
        self.dropped: deque[Callable[[], None]] = deque()
        self._afterwards = afterwards
        self._broken: deque[Exception] = deque()

    def bury(self) -> None:
        """Under the lock: end the calls that finalisers gave up."""
        while self.dropped:
            try:
                self.dropped.popleft()()
            except Exception as error:  # noqa: BLE001 - neither gRPC's thread nor another call pays for it
                self._broken.append(error)

    def tell(self) -> None:
        """Without the lock: a log handler may call over this very mesh."""
        while self._broken:
            log.error("a call ended badly", exc_info=self._broken.popleft())

    def follow_up(self) -> None:
        """Without the lock: a span may be exported, or a line written, by a call of this mesh.

        Not from finalisers, which may run while their thread holds a lock of somebody else's.
        """
        while self._afterwards:
            try:
                action = self._afterwards.popleft()
            except IndexError:
                return  # another thread was quicker
            try:
                action()
            except Exception:  # a call does not pay for what is told of it
                log.exception("a call could not be told of")


class Settles(Protocol):
    def collect(self) -> None: ...


class Attendant:
    """A thread that settles what is left where no step follows: by callbacks and finalisers.

    Begun with the first call, where observers leave anything to be done at all; it ends with whom
    it attends, or soon after :meth:`rest`.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = self.is_due = wanted
        self._wake: SimpleQueue[bool] = SimpleQueue()  # may be put to from finalisers
        self._lock = threading.Lock()
        self._begun: weakref.finalize[[bool], Settles] | None = None

    def begin(self, attended: Settles) -> None:
        with self._lock:
            if not self.is_due:
                return
            self.is_due = False
            self._wake = SimpleQueue()
            self._begun = weakref.finalize(attended, self._wake.put, False)
            self._begun.atexit = False
            thread = threading.Thread(
                target=_attend,
                args=(self._wake, weakref.ref(attended)),
                name="meshlib-afterwards",
                daemon=True,
            )
            thread.start()

    def rest(self) -> None:
        """No call is to come for now; the next one begins anew."""
        with self._lock:
            if self._begun is not None and self._begun.detach():
                self._wake.put(False)
                self.is_due = True

    def anew(self) -> "Attendant":
        """In a forked child, where the thread is not."""
        return Attendant(wanted=self._wanted)

    def nudge(self) -> None:
        if self._begun is not None and self._wake.empty():
            self._wake.put(True)


def _attend(wake: SimpleQueue[bool], attended: "weakref.ref[Settles]") -> None:
    while wake.get():
        _settle(attended)
    try:
        while _settle(attended):
            wake.get(timeout=LINGER)
    except Empty:
        return


def _settle(attended: "weakref.ref[Settles]") -> bool:
    """Is there anybody to attend to?"""
    found = attended()
    if found is not None:
        found.collect()
    return found is not None
