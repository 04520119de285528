"""Access logs as log records of OpenTelemetry, handed to whatever the program has set up."""

import logging
from collections.abc import Callable
from importlib.util import find_spec

from ...dataplane import CallEnded, Whereabouts
from ...model import Struct
from ...model.telemetry import OpenTelemetryAccessLog
from .formats import Compiled, compile_text

log = logging.getLogger("meshlib")

SCOPE = "meshlib.access_log"
NANOSECONDS = 1_000_000_000

Tell = Callable[[CallEnded], None]


def compile_records(config: OpenTelemetryAccessLog, whereabouts: Whereabouts) -> Tell:
    """Raises :class:`meshlib.ConfigError` for a format that is none.

    Without OpenTelemetry in the program, nobody is told, and that is said once.
    """
    body = compile_text(config.body, whereabouts) if config.body else None
    compiled = Compiled(whereabouts, omit_empty_values=True)
    attributes = compiled.struct(config.attributes or Struct(), "attributes")
    name = config.log_name or SCOPE
    if find_spec("opentelemetry") is None:
        log.warning("access log %s: there is no opentelemetry-api, so nobody is told", name)
        return lambda _: None

    def tell(event: CallEnded) -> None:
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
