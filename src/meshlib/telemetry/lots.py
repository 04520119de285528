"""Traces that begin here, drawn ahead by the dozen: one at a time, it is cold code each time."""

import os
from weakref import WeakSet

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext

from ..dataplane import Headers
from .deciding import Share
from .ids import Ids
from .marks import W3C_ALONE, Forms, marks, span_of
from .trace_headers import TRACEPARENT, Parent, write_traceparent
from .traces import Unsampled

AHEAD = 64
"""Only of ids that say nothing but chance: those of some programs tell the time."""

_all: "WeakSet[Lots]" = WeakSet()


class Wanted:
    """A trace that the sampler wants: the spans of a call and of its first attempt, and the
    headers that tell of the latter."""

    __slots__ = ("call", "headers", "sent", "trace_id")

    def __init__(self, call: SpanContext, sent: SpanContext, headers: Headers) -> None:
        self.trace_id = call.trace_id
        self.call = call
        self.sent = sent
        self.headers = headers


class Lots:
    """``share``: of which traces the program's sampler may want to know."""

    def __init__(self, ids: Ids, share: Share, always: Forms) -> None:
        self._ids = ids
        self._share = share
        self._always = always
        self._drawn: list[Wanted | int | Unsampled] = []
        _all.add(self)

    def draw(self) -> Wanted | int | Unsampled:
        """A trace that may be wanted, or its id alone; or what stands for one that is not."""
        while True:
            try:
                return self._drawn.pop()
            except IndexError:
                if type(self._ids.inner) is not RandomIdGenerator:
                    return self._one()
                self._drawn.extend([self._one(ahead=True) for _ in range(AHEAD)])

    def _one(self, *, ahead: bool = False) -> Wanted | int | Unsampled:
        inner = self._ids.inner
        trace_id = int(inner.generate_trace_id())
        if not self._share.takes(trace_id):
            return self.blank(trace_id)
        if not ahead:
            return trace_id
        flags = self._ids.root_flags
        call = SpanContext(trace_id, int(inner.generate_span_id()), False, flags)
        sent = SpanContext(trace_id, int(inner.generate_span_id()), False, flags)
        return Wanted(call, sent, marks(sent, self._always))

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
