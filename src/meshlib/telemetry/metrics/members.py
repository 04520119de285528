"""The meshes of this process, for those who export what all of them count."""

import os
import threading
from collections.abc import Iterator
from typing import Protocol
from weakref import WeakSet

from ...exposition import Metric


class Member(Protocol):
    def collect(self) -> list[Metric]: ...

    def introduce(self) -> None:
        """Metrics are wanted: tell peers who this is, so that both sides name each other."""


class Members:
    """``want`` holds for those who join later, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: WeakSet[Member] = WeakSet()
        self._wanted = False

    def join(self, member: Member) -> None:
        with self._lock:
            self._members.add(member)
            wanted = self._wanted
        if wanted:
            member.introduce()

    def leave(self, member: Member) -> None:
        with self._lock:
            self._members.discard(member)

    def want(self, *, wanted: bool = True) -> None:
        """Somebody exports the metrics of this process from now on, or nobody does any more."""
        with self._lock:
            self._wanted = wanted
        for member in self if wanted else ():
            member.introduce()

    def __iter__(self) -> Iterator[Member]:
        with self._lock:
            return iter(list(self._members))

    def begin_anew(self) -> None:
        """In a forked child: whoever held the lock stayed behind in the parent."""
        self._lock = threading.Lock()


MEMBERS = Members()
os.register_at_fork(after_in_child=MEMBERS.begin_anew)
