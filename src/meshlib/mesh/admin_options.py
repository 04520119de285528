"""Where a member shows what it counts, and whether peers are told for that who it is."""

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, Problem

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
TOKEN = "MESHLIB_ADMIN_TOKEN"  # noqa: S105 - of the environment


def admin_options(
    admin: str | None, metrics: bool | None, environ: Mapping[str, str]
) -> dict[str, Any]:
    token = environ.get(TOKEN, "")
    named = admin if admin is not None else environ.get("MESHLIB_ADMIN", "")
    return {
        "admin": _address(named, token) if named else "",
        "admin_token": token,
        "metrics": _wanted(environ) if metrics is None else _said(metrics),
    }


def _said(metrics: object) -> bool:
    if not isinstance(metrics, bool):
        said = f"{metrics!r} is neither True nor False"
        raise ConfigError(Problem("Mesh: metrics (MESHLIB_METRICS)", said))
    return metrics


def _address(text: object, token: str) -> str:
    """``host:port``, unless anybody who reaches it could read there."""
    where = "Mesh: admin (MESHLIB_ADMIN)"
    host, _, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(Problem(where, f"{text!r} is not host:port, such as '127.0.0.1:15020'"))
    if not token and host not in LOOPBACK:
        said = f"{text} is not loopback: an admin token is needed ({TOKEN})"
        raise ConfigError(Problem(where, said))
    return f"{host}:{port}"


def _wanted(environ: Mapping[str, str]) -> bool | None:
    """``None``: where there is somebody to read them."""
    word = environ.get("MESHLIB_METRICS", "")
    if word not in ("", "on", "off"):
        raise ConfigError(Problem("MESHLIB_METRICS", f"{word!r} is neither 'on' nor 'off'"))
    return None if not word else word == "on"
