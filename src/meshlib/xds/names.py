"""Names of resources: old style, and ``xdstp://`` (gRFC A47, xRFC TP1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ..errors import ConfigError

SCHEME = "xdstp"


@dataclass(frozen=True, slots=True)
class ResourceName:
    """An ``xdstp`` name taken apart; context parameters are sorted, so equal names are equal."""

    authority: str
    resource_type: str
    id: str
    params: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in self.params)
        path = f"{self.resource_type}/{quote(self.id, safe=_SAFE)}"
        return f"{SCHEME}://{self.authority}/{path}" + (f"?{query}" if query else "")


def parse(name: str) -> ResourceName | None:
    """Take an ``xdstp`` name apart; ``None`` for an old-style name.

    Raises :class:`ConfigError` for what looks like ``xdstp`` and is not.
    """
    if not name.startswith(f"{SCHEME}:"):
        return None
    try:
        parts = urlsplit(name)
    except ValueError as error:
        raise ConfigError(f"{name!r} is not xdstp://authority/type/id: {error}") from error
    resource_type, slash, identity = parts.path.removeprefix("/").partition("/")
    if not (name.startswith(f"{SCHEME}://") and resource_type and slash):
        raise ConfigError(f"{name!r} is not xdstp://authority/type/id")
    params = tuple(sorted(parse_qsl(parts.query, keep_blank_values=True)))
    return ResourceName(parts.netloc, resource_type, unquote(identity), params)


def canonical(name: str) -> str:
    """The spelling under which a name is kept: context parameters in order."""
    try:
        return str(parse(name) or name)
    except ConfigError:
        return name


def listener_name(template: str, target: str) -> str:
    """Fill a listener template; only ``xdstp`` templates take the target percent-encoded."""
    if template.startswith(f"{SCHEME}:"):
        return canonical(template.replace("%s", quote(target, safe=_SAFE)))
    return template.replace("%s", target)


def authority_of(name: str, authorities: Mapping[str, object]) -> str | None:
    """The authority that answers for ``name``; ``None`` is the bootstrap's own servers.

    An unknown authority is an error, not the default server (gRFC A47).
    """
    parsed = parse(name)
    if parsed is None:
        return None
    if parsed.authority not in authorities:
        raise ConfigError(f"{name!r}: the bootstrap has no authority {parsed.authority!r}")
    return parsed.authority


_SAFE = "/-._~!$&'()*+,;=:@"
