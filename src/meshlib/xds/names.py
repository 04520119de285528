"""Names of resources: old style, and ``xdstp://`` (gRFC A47, xRFC TP1)."""

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

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
        query = "&".join(f"{quote(k, safe=_QUERY)}={quote(v, safe=_QUERY)}" for k, v in self.params)
        path = f"{self.resource_type}/{quote(self.id, safe=_PATH)}"
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
    return ResourceName(parts.netloc, resource_type, unquote(identity), _params(parts.query))


def _params(query: str) -> tuple[tuple[str, str], ...]:
    """Sorted; of a key that comes twice, the last. A "+" is a plus: these are no HTML forms."""
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return tuple(sorted({unquote(key): unquote(value) for key, _, value in pairs}.items()))


def canonical(name: str) -> str:
    """The spelling under which a name is kept: context parameters in order."""
    try:
        return str(parse(name) or name)
    except ConfigError:
        return name


def authority(name: str) -> str | None:
    """Who answers for a canonical name; ``None`` is the bootstrap's own servers."""
    if not name.startswith(f"{SCHEME}://"):
        return None
    return name.removeprefix(f"{SCHEME}://").partition("/")[0]


def listener_name(template: str, target: str) -> str:
    """Fill a listener template; only ``xdstp`` templates take the target percent-encoded."""
    if template.startswith(f"{SCHEME}:"):
        return canonical(template.replace("%s", quote(target, safe=_PATH)))
    return template.replace("%s", target)


_PATH = "/-._~!$&'()*+,;=:@"
_QUERY = "/-._~!$'()*+,;:@?"
