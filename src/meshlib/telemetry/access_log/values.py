"""What operators read of a call, and how that is written in a line."""

import json
import re
from collections.abc import Callable
from typing import Any

from ...dataplane import CallEnded

Read = Callable[[CallEnded], Any]
"""A JSON value; ``None``: there is nothing to tell."""


def nothing(_event: CallEnded) -> None:
    """Of any call there is nothing to tell."""


# Whatever some reader takes for the end of a line, and what a terminal obeys. Envoy writes values
# as they are, since its codecs let no such value in; ours come from several libraries.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_SHORT = {"\n": "\\n", "\r": "\\r"}


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def one_line(text: str) -> str:
    """The text with its control characters escaped; a tab is none."""
    return text if text.isprintable() else _CONTROL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    short = _SHORT.get(found[0])
    return short or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")


def as_text(value: Any) -> Any:
    """What has parts is JSON in a text, too; texts, and ``None``, are themselves."""
    return value if value is None or isinstance(value, str) else as_json(value)


def as_json(value: Any) -> str:
    """On one line, for whoever reads lines; ends of lines that JSON knows not of are escaped."""
    text = _encode(value)
    return text if text.isprintable() else _CONTROL.sub(_json_escaped, text)


def _json_escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
