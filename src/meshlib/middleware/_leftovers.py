"""What calls leave to be done when the lock is free, or when it is let go of."""

import logging
from collections import deque
from collections.abc import Callable

log = logging.getLogger("meshlib")


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
