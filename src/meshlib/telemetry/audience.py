"""Whom one listener's configuration wants to be told of its calls: compiled when it is applied."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..dataplane.events import CallEnded
from ..model import Listener
from ..model.telemetry import AccessLog, Stats, Tracing
from .metrics.overrides import Plan

Log = Callable[[CallEnded], None]
"""Writes a line of a call, or does not; runs without the mesh's lock."""
Runtime = Mapping[str, float]
NO_RUNTIME: Runtime = {}


@dataclass(frozen=True, slots=True)
class Audience:
    """``stats`` ``None``: the standard metrics; ``tracing`` ``None``: as the program has it."""

    logs: tuple[Log, ...] = ()
    tracing: Tracing | None = None
    stats: Plan | None = None


def audience_of(
    listener: Listener, otherwise: Audience | None = None, runtime: Runtime = NO_RUNTIME
) -> Audience | None:
    """``None`` where the configuration says nothing of it. ``otherwise`` has the logs of listeners
    that have none of their own, and do not say that there shall be none. ``runtime``: the shares
    (0 to 1) that runtime keys stand for, as they are at any moment.

    Raises :class:`meshlib.ConfigError` for a log with a format that is none.
    """
    http = listener.http
    configs = (one.config for one in http.http_filters)
    stats = next((config for config in configs if isinstance(config, Stats)), None)
    logs, is_off = _compiled(http.access_log, runtime), listener.wants_no_logs
    if not logs and not is_off and otherwise is not None:
        logs = otherwise.logs
    if http.tracing is None and stats is None and not logs and not is_off:
        return None
    plan = None if stats is None else Plan(stats)
    return Audience(logs=logs, tracing=http.tracing, stats=plan)


def default_audience(environ: Mapping[str, str]) -> Audience | None:
    """Who hears of calls of which no configuration says who does: ``MESHLIB_ACCESS_LOG``.

    Raises :class:`meshlib.ConfigError` for a format that is none.
    """
    if not environ.get("MESHLIB_ACCESS_LOG"):
        return None
    from .access_log import default_log

    asked = default_log(environ)
    return None if asked is None else Audience(logs=_compiled((asked,), NO_RUNTIME))


def _compiled(configs: Sequence[AccessLog], runtime: Runtime) -> tuple[Log, ...]:
    if not configs:
        return ()
    from .access_log import compile_log, here

    return tuple(compile_log(config, here(runtime=runtime)) for config in configs)
