"""Whom one listener's configuration wants to be told of its calls: compiled when it is applied."""

from collections.abc import Callable
from dataclasses import dataclass

from ..dataplane.events import CallEnded
from ..model import Listener
from ..model.telemetry import Stats, Tracing
from .metrics.overrides import Plan

Log = Callable[[CallEnded], None]
"""Writes a line of a call, or does not; runs without the mesh's lock."""


@dataclass(frozen=True, slots=True)
class Audience:
    """``stats`` ``None``: the standard metrics; ``tracing`` ``None``: as the program has it."""

    logs: tuple[Log, ...] = ()
    tracing: Tracing | None = None
    stats: Plan | None = None


def audience_of(listener: Listener) -> Audience | None:
    """``None`` where the configuration says nothing of it."""
    http = listener.http
    configs = (one.config for one in http.http_filters)
    stats = next((config for config in configs if isinstance(config, Stats)), None)
    if http.tracing is None and stats is None:
        return None
    return Audience(tracing=http.tracing, stats=None if stats is None else Plan(stats))
