"""The log that the environment asks for, where no configuration does."""

import json
from collections.abc import Mapping

from ...errors import ConfigError, Problem
from ...model import Struct, Value
from ...model.log_format import ISTIO_FORMAT, ISTIO_JSON
from ...model.telemetry import AccessLog, FileAccessLog

PATH, FORMAT = "MESHLIB_ACCESS_LOG", "MESHLIB_ACCESS_LOG_FORMAT"


def default_log(environ: Mapping[str, str]) -> AccessLog | None:
    """``MESHLIB_ACCESS_LOG`` is a path. ``MESHLIB_ACCESS_LOG_FORMAT`` is ``text`` or ``json``,
    which are Istio's lines; or a format of one's own: a text, or a JSON object.

    Raises :class:`ConfigError` for what begins as an object and is none.
    """
    path, format_ = environ.get(PATH, ""), environ.get(FORMAT, "")
    if not path:
        return None
    match format_.strip():
        case "" | "text" | "TEXT":
            made = FileAccessLog(path=path, text=ISTIO_FORMAT)
        case "json" | "JSON":
            made = FileAccessLog(path=path, json=ISTIO_JSON)
        case text if text.startswith("{"):
            made = FileAccessLog(path=path, json=_struct(text))
        case text:
            made = FileAccessLog(path=path, text=text + "\n")
    return AccessLog(name=PATH, config=made)


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
