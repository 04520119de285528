"""Attributes that the configuration adds to every span."""

import os
import socket
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import chain

from ..dataplane import Whereabouts
from ..dataplane.events import CallEnded
from ..model.telemetry import (
    CustomTag,
    EnvironmentTag,
    FormatterTag,
    HeaderTag,
    LiteralTag,
    Tracing,
)
from .access_log.formats import compile_text
from .plain_spans import AnySpan
from .texts import shown


def tell_tags(span: AnySpan, event: CallEnded, config: Tracing | None) -> None:
    route = event.record.route
    own = None if route is None else route.config.tracing
    if config is None and own is None:
        return
    tags = (() if config is None else config.custom_tags, () if own is None else own.custom_tags)
    for tag in chain(*tags):
        value = _value(tag, event)
        if value:
            span.set_attribute(tag.tag, shown(value))


def tell_operation(span: AnySpan, event: CallEnded) -> None:
    """How the route wants spans of HTTP to be called."""
    route = event.record.route
    own = None if route is None else route.config.tracing
    if own is not None and own.operation:
        span.update_name(shown(own.operation))


def _value(tag: CustomTag, event: CallEnded) -> str:
    match tag.source:
        case LiteralTag(value=value):
            return value
        case EnvironmentTag(name=name, default_value=default):
            return os.environ.get(name) or default
        case HeaderTag(name=name, default_value=default):
            return event.record.request.header(name.lower()) or default
        case FormatterTag(value=text):
            return _compiled(text)(event)


@lru_cache(256)
def _compiled(text: str) -> Callable[[CallEnded], str]:
    here = Whereabouts(socket.gethostname(), dict(os.environ), time.time, time.monotonic)  # noqa: TID251
    return compile_text(text, here, omit_empty_values=True)
