"""What a member does that starts while its control plane cannot be asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, Problem

ON_NO_CONFIG = ("wait", "fail", "direct", "last_good")
MAX_AGE = 24 * 3600.0
"""Seconds for which a member goes by a configuration on disk."""


def start_policy(
    last_known_good: str | Path | None,
    max_age: float | None,
    on_no_config: str | None,
    environ: Mapping[str, str],
) -> dict[str, Any]:
    """The fields of the options, checked. A folder for the last known good means that it is used.

    Raises :class:`ConfigError` for a word that is none of the known, or one that lacks its folder.
    """
    folder = last_known_good or environ.get("MESHLIB_LAST_KNOWN_GOOD") or None
    chosen = on_no_config or environ.get("MESHLIB_ON_NO_CONFIG")
    chosen = chosen or ("last_good" if folder is not None else "wait")
    where = "Mesh: on_no_config (MESHLIB_ON_NO_CONFIG)"
    if chosen not in ON_NO_CONFIG:
        raise ConfigError(Problem(where, f"{chosen!r} is none of {', '.join(ON_NO_CONFIG)}"))
    if chosen == "last_good" and folder is None:
        said = "'last_good' needs a folder: last_known_good (MESHLIB_LAST_KNOWN_GOOD)"
        raise ConfigError(Problem(where, said))
    return {
        "last_known_good": None if folder is None else _folder(folder),
        "last_known_good_max_age": _seconds(max_age, environ),
        "on_no_config": chosen,
    }


def _folder(given: object) -> Path:
    if isinstance(given, str | Path):
        return Path(given)
    where = "Mesh: last_known_good (MESHLIB_LAST_KNOWN_GOOD)"
    raise ConfigError(Problem(where, f"{given!r:.200} is not the path of a folder"))


def _seconds(given: float | None, environ: Mapping[str, str]) -> float:
    said = given if given is not None else environ.get("MESHLIB_LAST_KNOWN_GOOD_MAX_AGE") or MAX_AGE
    try:
        seconds = float(said)
    except (TypeError, ValueError):
        seconds = 0.0
    if seconds > 0:
        return seconds
    where = "Mesh: last_known_good_max_age (MESHLIB_LAST_KNOWN_GOOD_MAX_AGE)"
    raise ConfigError(Problem(where, f"{said!r} is not a number of seconds above 0"))
