"""Which headers a member may be told to hand on."""

import re
from collections.abc import Sequence

from ..errors import ConfigError, Problem

WHERE = "Mesh: propagate"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
OF_ONE_MESSAGE = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "host", "keep-alive"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)
"""What they say is true of the call that came in, and of no other."""


def propagated(names: Sequence[str]) -> tuple[str, ...]:
    """Raises :class:`ConfigError` for what is no list of names, or would break calls."""
    if isinstance(names, str | bytes):
        raise ConfigError(Problem(WHERE, f"a list is needed, such as [{names!r}]"))
    return tuple(_name(name) for name in names)


def _name(name: object) -> str:
    lowered = name.lower() if isinstance(name, str) else ""
    if not _NAME.fullmatch(lowered):
        raise ConfigError(Problem(WHERE, f"{name!r} is not the name of a header"))
    if lowered in OF_ONE_MESSAGE or lowered.startswith(("grpc-", "proxy-")):
        raise ConfigError(Problem(WHERE, f"{lowered} belongs to one message and is not handed on"))
    return lowered
