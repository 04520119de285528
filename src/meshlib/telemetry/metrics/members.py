"""The meshes of this process, for those who export what all of them count."""

import os
import threading
import time
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

from ...exposition import Metric


class Member(Protocol):
    @property
    def name(self) -> str: ...

    def collect(self) -> list[Metric]: ...

    def introduce(self) -> None:
        """Metrics are wanted: tell peers who this is, so that both sides name each other."""


class Members:
    """``want`` holds for those who join later, too.

    Who joined stays as long as it lives, so that what a closed mesh counted is exported at the end.
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns) -> None:
        self._wall = wall
        self._lock = threading.Lock()
        self._members: WeakKeyDictionary[Member, int] = WeakKeyDictionary()
        self._wanted = False

    def join(self, member: Member) -> None:
        with self._lock:
            self._members.setdefault(member, self._wall())
            wanted = self._wanted
        if wanted:
            member.introduce()

    def want(self, *, wanted: bool = True) -> None:
        """Somebody exports the metrics of this process from now on, or nobody does any more."""
        with self._lock:
            self._wanted = wanted
        for member, _ in self.since() if wanted else ():
            member.introduce()

    def since(self) -> list[tuple[Member, int]]:
        """Those that there are, and since when (Unix time in ns) they count."""
        with self._lock:
            return list(self._members.items())

    def begin_anew(self) -> None:
        """In a forked child: those count anew, and who held the lock stayed in the parent."""
        self._lock = threading.Lock()
        self._members.clear()


MEMBERS = Members()
os.register_at_fork(after_in_child=MEMBERS.begin_anew)
