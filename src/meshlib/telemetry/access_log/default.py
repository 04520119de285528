"""The log that the environment asks for, where no configuration does."""

import json
import logging
from collections.abc import Iterable, Mapping

from ...errors import ConfigError, Problem
from ...model import Struct, Value
from ...model.log_format import ISTIO_FORMAT, ISTIO_JSON, texts_of, unfilled_in
from ...model.telemetry import AccessLog, FileAccessLog
from ...xds.expressions import why_not_log_format

log = logging.getLogger("meshlib")

PATH, FORMAT = "MESHLIB_ACCESS_LOG", "MESHLIB_ACCESS_LOG_FORMAT"
SWITCHES = frozenset({"on", "off", "true", "false", "yes", "no", "1", "0"})
"""Meant for a switch, and not for the name of a file."""


def default_log(environ: Mapping[str, str]) -> AccessLog | None:
    """``MESHLIB_ACCESS_LOG`` is a path. ``MESHLIB_ACCESS_LOG_FORMAT`` is ``text`` or ``json``,
    which are Istio's lines; or a format of one's own: a text, or a JSON object.

    Raises :class:`ConfigError` for what is none of these.
    """
    path, format_ = environ.get(PATH, ""), environ.get(FORMAT, "")
    if not path:
        return None
    if path.lower() in SWITCHES:
        said = f"{path!r} is no path, such as /dev/stdout; leave it empty for no log"
        raise ConfigError(Problem(PATH, said))
    match format_.strip():
        case "" | "text" | "TEXT":
            made = FileAccessLog(path=path, text=ISTIO_FORMAT)
        case "json" | "JSON":
            made = FileAccessLog(path=path, json=ISTIO_JSON)
        case text if text.startswith("{"):
            made = FileAccessLog(path=path, json=_struct(text))
            _check(each for _, each in texts_of(made.json))
        case text if "%" in text:
            made = FileAccessLog(path=path, text=text + "\n")
            _check((text,))
        case text:
            said = f"{text!r} is neither 'text' nor 'json', and no %OPERATOR% is in it"
            raise ConfigError(Problem(FORMAT, said))
    return AccessLog(name=PATH, config=made)


def _check(texts: Iterable[str]) -> None:
    told = tuple(texts)
    refusals = [Problem(FORMAT, why) for text in told if (why := why_not_log_format(text))]
    if refusals:
        raise ConfigError(*refusals)
    for name in dict.fromkeys(name for text in told for name in unfilled_in(text)):
        log.warning("%s: %%%s%% is never filled in", FORMAT, name)


def _struct(text: str) -> Struct:
    try:
        found = _value(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ConfigError(Problem(FORMAT, f"no JSON: {error}")) from None
    assert isinstance(found, Struct), "it began with a brace"
    return found


def _value(found: object) -> Value:
    match found:
        case dict():
            return Struct(tuple(sorted((name, _value(each)) for name, each in found.items())))
        case list():
            return tuple(map(_value, found))
        case bool() | str() | None:
            return found
        case int() | float():
            return float(found)
        case _:
            raise ValueError(f"{found!r} is no JSON")
