"""Access logs: a line of each call, as Envoy writes it."""

import logging
import os
import random  # noqa: TID251 - which share of the calls a log tells of
import socket
import time
from collections.abc import Callable, Mapping
from functools import lru_cache

from ...clock import Dice
from ...dataplane import CallEnded, Whereabouts
from ...model.log_format import ENVOY_FORMAT, secrets_in, texts_of
from ...model.telemetry import AccessLog, FileAccessLog, OpenTelemetryAccessLog
from .default import default_log
from .filters import Site, compile_filter
from .formats import Line, compile_json, compile_text
from .open_telemetry import compile_records
from .writer import WRITERS, Writers, dropped

__all__ = ["Log", "Site", "compile_log", "default_log", "dropped", "flush"]

log = logging.getLogger("meshlib")

Log = Callable[[CallEnded], None]
"""Writes a line of a call, or does not; runs without the mesh's lock."""

NO_RUNTIME: Mapping[str, float] = {}


def here(dice: Dice = random.random, runtime: Mapping[str, float] = NO_RUNTIME) -> Site:
    """This very program."""
    whereabouts = Whereabouts(
        hostname=socket.gethostname(),
        environment=dict(os.environ),
        wall_clock=time.time,  # noqa: TID251 - for eyes outside of this program
        clock=time.monotonic,
    )
    return Site(whereabouts=whereabouts, dice=dice, runtime=runtime)


def compile_log(config: AccessLog, site: Site | None = None, writers: Writers = WRITERS) -> Log:
    """What is told of each call, once compiled; a call never fails for it.

    Raises :class:`meshlib.ConfigError` for a format or an expression that is none.
    """
    site = site or here()
    passes = None if config.filter is None else compile_filter(config.filter, site)
    match config.config:
        case FileAccessLog() as file:
            line, write = _line(file, site.whereabouts), writers.of(file.path).write
            tell: Log = lambda event: write(line(event))  # noqa: E731 - one of two
        case OpenTelemetryAccessLog() as records:
            tell = compile_records(records, site.whereabouts)
    _warn_of_secrets(config)
    failed = False

    def told(event: CallEnded) -> None:
        nonlocal failed
        try:
            if passes is None or passes(event):
                tell(event)
        except Exception:
            if not failed:
                failed = True
                log.exception("access log %s", config.name)

    return told


def flush() -> None:
    """Write what waits, before the program goes on."""
    WRITERS.flush()


def _line(file: FileAccessLog, whereabouts: Whereabouts) -> Line:
    omits = file.omit_empty_values
    if file.json is not None:
        return compile_json(file.json, whereabouts, omit_empty_values=omits)
    return compile_text(file.text or ENVOY_FORMAT, whereabouts, omit_empty_values=omits)


@lru_cache(maxsize=256)
def _warn_of_secrets(config: AccessLog) -> None:
    """Once: a configuration comes again and again."""
    match config.config:
        case FileAccessLog(text=text, json=template):
            texts = (text, *(each for _, each in texts_of(template)))
        case OpenTelemetryAccessLog(body=body, attributes=template):
            texts = (body, *(each for _, each in texts_of(template)))
    for name in dict.fromkeys(name for text in texts for name in secrets_in(text)):
        log.warning("access log %s: it tells the value of %s", config.name, name)
