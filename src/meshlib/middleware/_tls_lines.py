"""What leads to servers, and is cut off when they are believed no more."""

import threading
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from ..identity.credentials import Credentials

if TYPE_CHECKING:
    from ._drive import Runtime

REVOKED = "the server's certificate is revoked"


class Line(Protocol):
    def look(self, credentials: Credentials) -> None:
        """Cut it off, if whoever answers is revoked. Called on any thread, more than once."""


class Lines:
    """All channels and connections to members, looked at whenever the deny set is another.

    Nothing else cuts them: new certificates and roots are for new connections.
    """

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._is_watching = False
        self._seen: frozenset[str] = frozenset()
        self.reset()

    def reset(self) -> None:
        """In a forked child neither the lock nor the connections are one's own."""
        self._lock = threading.Lock()
        self._lines: WeakSet[Line] = WeakSet()

    def add(self, line: Line) -> None:
        """Held for as long as somebody else holds it."""
        source = self._runtime.credentials
        if source is None:
            return
        with self._lock:
            self._lines.add(line)
            is_first, self._is_watching = not self._is_watching, True
        if is_first:
            source.watch(self._look)
        credentials = source.current()
        if credentials is not None:
            line.look(credentials)

    def _look(self, credentials: Credentials) -> None:
        if credentials.revoked == self._seen:
            return
        self._seen = credentials.revoked
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.look(credentials)
