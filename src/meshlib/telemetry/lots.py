"""Traces that begin here, drawn ahead by the dozen: one at a time, it is cold code each time."""

import os
from weakref import WeakSet

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from ..dataplane import Headers
from .deciding import Share
from .ids import Ids
from .marks import W3C_ALONE, Forms, marks, span_of
from .trace_headers import TRACEPARENT, Parent, write_traceparent
from .traces import Unsampled

AHEAD = 64
"""Only of ids that say nothing but chance: those of some programs tell the time."""

_all: "WeakSet[Lots]" = WeakSet()


class Lots:
    """``share``: of which traces the program's sampler may want to know."""

    def __init__(self, ids: Ids, share: Share, always: Forms) -> None:
        self._ids = ids
        self._share = share
        self._always = always
        self._drawn: list[int | Unsampled] = []
        _all.add(self)

    def draw(self) -> int | Unsampled:
        """The id of a trace that may be wanted, or what stands for one that is not."""
        while True:
            try:
                return self._drawn.pop()
            except IndexError:
                ahead = AHEAD if type(self._ids.inner) is RandomIdGenerator else 1
                self._drawn.extend([self._one() for _ in range(ahead)])

    def _one(self) -> int | Unsampled:
        trace_id = int(self._ids.inner.generate_trace_id())
        return trace_id if self._share.takes(trace_id) else self.blank(trace_id)

    def blank(self, trace_id: int) -> Unsampled:
        """What stands for a trace that is not wanted."""
        lost = Parent(trace_id, int(self._ids.inner.generate_span_id()), sampled=False)
        headers: Headers = ((TRACEPARENT, write_traceparent(trace_id, lost.span_id, 0)),)
        if self._always != W3C_ALONE:
            headers = marks(span_of(lost), self._always)
        return Unsampled(lost, headers)

    def forget(self) -> None:
        self._drawn.clear()


def _begin_anew() -> None:
    """In a forked child: what was drawn is the parent's."""
    for lots in list(_all):
        lots.forget()


os.register_at_fork(after_in_child=_begin_anew)
