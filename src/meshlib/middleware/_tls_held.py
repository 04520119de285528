"""Calls under way, and how to break them off when their caller is believed no more."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..dataplane import Connection
from ..identity.credentials import Credentials, Forget

if TYPE_CHECKING:
    from ._drive import Runtime

Cut = Callable[[], object]
"""Called on any thread."""


class Held:
    """Looks at who is believed whenever that is told anew, and not at who has expired since: that
    a certificate ends says nothing about a call that began while it held. ``cuts`` counts."""

    def __init__(self, runtime: "Runtime", is_refused: Callable[[Connection], bool]) -> None:
        self._runtime = runtime
        self._is_refused = is_refused
        self.reset()
        self.cuts = 0
        self._seen: tuple[object, ...] = ()
        self._forget: Forget | None = None

    def reset(self) -> None:
        """In a forked child neither the lock nor the calls are one's own."""
        self._lock = threading.Lock()
        self._calls: dict[object, tuple[Connection, Cut]] = {}

    def hold(self, connection: Connection, cut: Cut) -> object:
        """Give the result to :meth:`let_go`."""
        call = object()
        self._calls[call] = connection, cut
        if self._forget is None and self._runtime.credentials is not None:
            with self._lock:
                if self._forget is None:
                    self._forget = self._runtime.credentials.watch(self._look)
        return call

    def let_go(self, call: object) -> None:
        self._calls.pop(call, None)

    def _look(self, credentials: Credentials) -> None:
        seen = credentials.revoked, {name: b.roots for name, b in credentials.bundles.items()}
        if seen == self._seen:
            return
        self._seen = seen
        for connection, cut in list(self._calls.values()):
            if self._is_refused(connection):
                self.cuts += 1
                cut()
