"""What is counted of those who are gone makes room, or a member that lives for months has none.

Nothing goes at once: who reads metrics now and then is to see the last values. What comes back
begins at 0, as after a restart.
"""

import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any

from ...clock import Clock
from ..peers import ANSWERS, CALLS, PROVEN, TOLD, Peers
from .calls import Kind, is_strange
from .labels import is_crowd
from .recorder import Key, Recorder
from .series import Series

EVERY = 60.0
"""Seconds between two looks at what changes."""
KEPT = 900.0
"""Seconds for which a cluster that the configuration has no more is told of, at least."""
IDLE = 3600.0
"""Seconds without a call of a kind after which it goes where there is little room."""


class Eviction:
    """Called by those who read, as often as they like; never under the mesh's ``lock``."""

    def __init__(
        self, recorder: Recorder, peers: Peers, lock: AbstractContextManager[Any], clock: Clock
    ) -> None:
        self._recorder = recorder
        self._peers = peers
        self._lock = lock
        self._clock = clock
        self._looking = threading.Lock()
        self._next = 0.0
        self._counts: dict[Key, tuple[int, float]] = {}
        self._gone: dict[str, float] = {}

    def __call__(self, clusters: Collection[str]) -> None:
        """``clusters`` are those in force."""
        now = self._clock()
        if now < self._next or not self._looking.acquire(blocking=False):
            return
        try:
            self._next = now + EVERY
            self._look(clusters, now)
            over = {name for name, since in self._gone.items() if now - since >= KEPT}
            keys = [key for key in self._counts if self._is_over(key, over, now)]
            if keys or not over.isdisjoint(self._named()):
                self._forget(keys, over)
        finally:
            self._looking.release()

    def _look(self, clusters: Collection[str], now: float) -> None:
        """Which kinds of calls there were since the last time, and which clusters are gone."""
        counts = {}
        for key, series in list(self._recorder.series.items()):
            count, before = _count(series), self._counts.get(key)
            same = before is not None and before[0] == count
            counts[key] = before if same and before is not None else (count, now)
        self._counts = counts
        gone = {name for name in self._named() if name not in clusters}
        self._gone = {name: self._gone.get(name, now) for name in gone}

    def _named(self) -> Iterator[str]:
        recorder = self._recorder
        for _, kind in list(recorder.series):
            if kind.cluster and not is_crowd(kind):
                yield kind.cluster
        yield from recorder.attempts.clusters()
        for cluster, _ in (*recorder.denied, *recorder.ejections):
            yield cluster

    def _is_over(self, key: Key, over: Collection[str], now: float) -> bool:
        kind, idle = key[1], now - self._counts[key][1]
        if is_crowd(kind):
            return False
        return (idle >= KEPT and kind.cluster in over) or (idle >= IDLE and self._makes_room(kind))

    def _makes_room(self, kind: Kind) -> bool:
        """For its like alone: whoever makes up names is not to drive others out."""
        if kind.inbound:
            standings = {CALLS if is_strange(kind) else PROVEN}
        else:
            standings = {TOLD, PROVEN, ANSWERS}
        crowded = not standings.isdisjoint(self._peers.crowded)
        return crowded or self._recorder.is_crowded(kind)

    def _forget(self, keys: list[Key], over: Collection[str]) -> None:
        recorder = self._recorder
        with self._lock:
            still = [key for key in keys if _count(recorder.series[key]) == self._counts[key][0]]
            recorder.forget(still, over)
            kinds = [kind for _, kind in recorder.series]
            self._peers.keep({one for kind in kinds for one in (kind.source, kind.destination)})


def _count(series: Series) -> int:
    return sum(series.seconds)
