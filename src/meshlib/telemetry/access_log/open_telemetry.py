"""Access logs as log records of OpenTelemetry, handed to whatever the program has set up."""

import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.util import find_spec

from ...dataplane import CallEnded, Whereabouts
from ...model import Listener, Struct
from ...model.telemetry import OpenTelemetryAccessLog
from .formats import Compiled, compile_text

log = logging.getLogger("meshlib")

SCOPE = "meshlib.access_log"
NANOSECONDS = 1_000_000_000

Tell = Callable[[CallEnded], None]

NOBODY = (
    "nobody takes its records: call meshlib.telemetry.setup(), or set a LoggerProvider of"
    " OpenTelemetry's"
)


def compile_records(config: OpenTelemetryAccessLog, whereabouts: Whereabouts) -> Tell:
    """Raises :class:`meshlib.ConfigError` for a format that is none.

    While the program has set up no logs of OpenTelemetry's, nobody is told, and that is said once.
    """
    body = compile_text(config.body, whereabouts) if config.body else None
    compiled = Compiled(whereabouts, omit_empty_values=True)
    attributes = compiled.struct(config.attributes or Struct(), "attributes")
    name = config.log_name or SCOPE

    def tell(event: CallEnded) -> None:
        if not are_taken():
            _warn(name)
            return
        from opentelemetry._logs import LogRecord, get_logger

        passed = whereabouts.clock() - event.record.started
        began = whereabouts.wall_clock() - passed
        record = LogRecord(
            timestamp=int(began * NANOSECONDS),
            body=None if body is None else body(event),
            attributes=attributes(event),
        )
        get_logger(name).emit(record)

    return tell


def unheard(listeners: Iterable[Listener]) -> tuple[str, ...]:
    """Of these listeners, the logs with records that nobody takes, as ``place: what``."""
    logs = [log.config for listener in listeners for log in listener.http.access_log]
    kinds = (log for log in logs if isinstance(log, OpenTelemetryAccessLog))
    names = dict.fromkeys(log.log_name or SCOPE for log in kinds)
    if not names or are_taken():
        return ()
    return tuple(f"access log {name}: {NOBODY}" for name in names)


def are_taken() -> bool:
    """Whether the program has set up anything that takes records of logs."""
    if find_spec("opentelemetry") is None:
        return False
    from opentelemetry._logs import get_logger_provider
    from opentelemetry._logs._internal import ProxyLoggerProvider  # public nowhere

    return not isinstance(get_logger_provider(), ProxyLoggerProvider)


@lru_cache(maxsize=256)
def _warn(name: str) -> None:
    """Once: calls come again and again."""
    log.warning("access log %s: %s", name, NOBODY)
