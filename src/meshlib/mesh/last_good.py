"""Keeps what the control plane said last on disk, and takes it up where nobody can be asked."""

import logging
import threading
from dataclasses import replace
from typing import Any

from ..clock import Clock
from ..errors import ConfigError
from ..model import Snapshot
from ..xds.last_known_good import Saved, Store

log = logging.getLogger("meshlib")

PAUSE = 1.0
"""Seconds between two times that it is written."""
REFRESH = 600.0
"""Seconds after which it is written once more, while the control plane stands by it."""

State = tuple[Snapshot, frozenset[str]]


class Keeper:
    """Writes on a thread of its own, which begins with the first news."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._news = threading.Condition()
        self._state: State | None = None
        self._is_new = False
        self._stands = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._error = ""

    def remember(self, snapshot: Snapshot, absent: frozenset[str]) -> None:
        """Cheap; of many in a row only the last is written."""
        if not snapshot.listeners:
            return  # nothing was learned yet, and an earlier life knew more
        with self._news:
            self._state, self._is_new = (snapshot, absent), True
            self._stands = True
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(
                    target=self._run, name="meshlib-last-good", daemon=True
                )
                self._thread.start()
            self._news.notify()

    def contact(self, outage: str) -> None:
        """While the control plane can be asked, what it said does not grow old."""
        with self._news:
            self._is_new |= self._stands and self._state is not None
            self._stands = not outage
            self._news.notify()

    def close(self) -> None:
        with self._news:
            self._is_new |= self._stands and self._state is not None
            self._closed = True
            self._news.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._is_new or self._closed, REFRESH)
                state = self._state if self._is_new or self._stands else None
                self._is_new = False
            if state is not None:
                self._save(state)
            with self._news:
                if self._closed and not self._is_new:
                    return
                self._news.wait_for(lambda: self._closed, PAUSE)

    def _save(self, state: State) -> None:
        try:
            self._store.save(*state)
        except OSError as error:
            if str(error) != self._error:
                log.warning("the last known good configuration cannot be kept: %s", error)
            self._error = str(error)
        else:
            self._error = ""


class Earlier:
    """What an earlier life was told, in force until the control plane has spoken to all of it.

    Of the process' own life before a fork or a pause, or of another one that left it on disk.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._saved: Saved | None = None
        self._is_of_disk = False
        self._since = 0.0

    def take(self, saved: Saved, *, is_of_disk: bool = False) -> None:
        self._saved, self._is_of_disk = saved, is_of_disk
        self._since = self._clock()

    def beside(self, fresh: Snapshot, absent: frozenset[str]) -> State:
        """The news, and what is left of the old until there are news of that too."""
        if self._saved is None:
            return fresh, absent
        old = self._saved.snapshot
        left = {
            name: listener
            for name, listener in old.listeners.items()
            if name not in fresh.listeners and name not in absent
        }
        unsettled = self._saved.absent - fresh.listeners.keys()
        if not left and unsettled <= absent:
            if self._is_of_disk:
                log.warning("the control plane has spoken: nothing is stale any more")
            self._saved = None
            return fresh, absent
        both = replace(
            fresh,
            listeners={**left, **fresh.listeners},
            routes={**old.routes, **fresh.routes},
            clusters={**old.clusters, **fresh.clusters},
            endpoints={**old.endpoints, **fresh.endpoints},
            runtimes={**old.runtimes, **fresh.runtimes},
            extensions={**old.extensions, **fresh.extensions},
        )
        return both, absent | unsettled

    def status(self) -> dict[str, Any]:
        """``stale_age`` in seconds, of what came from disk."""
        saved = self._saved
        if saved is None or not self._is_of_disk:
            return {"stale": False}
        return {"stale": True, "stale_age": saved.age + self._clock() - self._since}


def read(store: Store, max_age: float, why: str) -> Saved | None:
    """What is on disk, if it may be used; what is in the way is told."""
    try:
        saved = store.load(max_age)
    except ConfigError as refused:
        log.warning("%s; it is not used", refused)
        return None
    if saved is None:
        log.warning("nothing is known: %s, and there is no %s", why, store.path)
        return None
    said = "stale: going by the last known good configuration %r, %.0f s old, as %s"
    log.warning(said, saved.snapshot.version, saved.age, why)
    return saved
