"""The ids of spans: that of a new trace may be known before its first span begins."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, TraceFlags, get_current_span

from .trace_headers import RANDOM

S = TypeVar("S")


class Ids:
    """Makes the ids of a tracer's spans; that of a new trace may be known before its first span."""

    def __init__(self) -> None:
        self.inner: Any = RandomIdGenerator()
        self.chosen = _Chosen()

    def take_over(self, tracer: Any) -> None:
        inner = getattr(tracer, "id_generator", None)
        if inner is not None:
            self.inner = inner
            tracer.id_generator = self

    def generate_trace_id(self) -> int:
        return self.chosen.trace_id or int(self.inner.generate_trace_id())

    def generate_span_id(self) -> int:
        return int(self.inner.generate_span_id())

    def is_trace_id_random(self) -> bool:
        asked = getattr(self.inner, "is_trace_id_random", None)
        return asked is not None and bool(asked())

    @property
    def root_flags(self) -> TraceFlags:
        """Of a span that begins a trace which is sampled."""
        return TraceFlags(TraceFlags.SAMPLED | (RANDOM if self.is_trace_id_random() else 0))


class _Chosen(threading.local):
    trace_id = 0


class Start:
    """Where a span is to begin: in a context, or as the root of a trace.

    ``trace_id`` 0: one is drawn, unless there is a parent.
    """

    __slots__ = ("_here", "_ids", "trace_id")

    def __init__(self, here: Context, ids: Ids, trace_id: int = 0) -> None:
        self._here = here
        self._ids = ids
        self.trace_id = trace_id

    @property
    def parent(self) -> SpanContext | None:
        """``None``: it is to be the root of a trace."""
        if not self._here:
            return None
        found = get_current_span(self._here).get_span_context()
        return found if found.is_valid else None

    def __call__(self, make: Callable[[Context], S]) -> S:
        self._ids.chosen.trace_id = self.trace_id
        try:
            return make(self._here)
        finally:
            self._ids.chosen.trace_id = 0
