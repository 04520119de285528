"""What a response says about each resource, before anybody believes it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import ConfigError
from .names import canonical


class Decoded(Protocol):
    """A valid resource, and the field paths in it that are accepted but not acted on."""

    @property
    def name(self) -> str: ...
    @property
    def resource(self) -> Any: ...
    @property
    def ignored(self) -> tuple[str, ...]: ...


Decode = Callable[[str, bytes], Decoded]
"""Takes a type URL and bytes; raises :class:`ConfigError` for what it refuses.

The error has the ``name`` of the resource where that could be read.
"""


@dataclass(frozen=True, slots=True)
class RawResource:
    """One resource as sent; ``name`` and ``ttl`` only come in a ``Resource`` message.

    ``value`` ``None`` is a heartbeat: the resource is as it was. ``version`` is its own (delta).
    """

    type_url: str
    value: bytes | None
    name: str = ""
    ttl: float | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class ResourceError:
    """What the server itself says of a resource (xRFC TP3); ``code`` is a gRPC status code."""

    name: str
    code: int
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseReceived:
    """``removed``: names that do not exist any more, or never did (delta)."""

    type_url: str
    version: str
    nonce: str
    resources: tuple[RawResource, ...] = ()
    errors: tuple[ResourceError, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    decoded: Decoded
    ttl: float | None
    version: str


@dataclass(slots=True)
class Verdict:
    """A response taken apart; a name is in one of the parts at most.

    ``unnamed`` are the refusals of resources whose name could not be read.
    """

    accepted: dict[str, Accepted] = field(default_factory=dict)
    heartbeats: dict[str, float | None] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    unnamed: list[str] = field(default_factory=list)
    failed: dict[str, ResourceError] = field(default_factory=dict)
    removed: tuple[str, ...] = ()

    @property
    def error(self) -> str:
        """The text of the NACK: every bad resource; "" is an ACK."""
        return "; ".join([*self.rejected.values(), *self.unnamed])

    def names(self) -> tuple[str, ...]:
        """All that the response says something about."""
        parts = (self.accepted, self.heartbeats, self.rejected, self.failed, self.removed)
        return tuple(name for part in parts for name in part)


def judge(response: ResponseReceived, decode: Decode) -> Verdict:
    """Sort the resources of a response into valid and not (gRFC A46)."""
    verdict = Verdict()
    seen: Counter[str] = Counter()
    for index, raw in enumerate(response.resources):
        name = canonical(raw.name)
        try:
            decoded = _checked(raw, response.type_url, decode)
        except ConfigError as refused:
            name = name or canonical(getattr(refused, "name", ""))
            _refuse(verdict, index, name, refused)
        else:
            name = canonical(raw.name or decoded.name) if decoded is not None else name
            if decoded is None:
                verdict.heartbeats[name] = raw.ttl
            else:
                version = raw.version or response.version
                verdict.accepted[name] = Accepted(decoded, raw.ttl, version)
        seen[name] += 1
    for name, times in seen.items():
        if name and times > 1:
            _refuse(verdict, 0, name, ConfigError(f"sent {times} times in one response"))
    removed = dict.fromkeys(map(canonical, response.removed))
    for name in filter(seen.__contains__, removed):
        _refuse(verdict, 0, name, ConfigError("sent and removed in one response"))
    verdict.removed = tuple(name for name in removed if name not in seen)
    seen.update(verdict.removed)
    verdict.failed = {
        name: error for error in response.errors if (name := canonical(error.name)) not in seen
    }
    return verdict


def _checked(raw: RawResource, type_url: str, decode: Decode) -> Decoded | None:
    if raw.value is None:
        return None
    if raw.type_url != type_url:
        raise ConfigError(f"is a {raw.type_url!r} in a response of {type_url!r}")
    try:
        return decode(raw.type_url, raw.value)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"cannot be decoded: {error!r}") from error


def _refuse(verdict: Verdict, index: int, name: str, refused: ConfigError) -> None:
    """Note each problem; one that has no place of its own gets the resource's."""
    resource = name or f"resources[{index}]"
    why = "; ".join(str(p) if p.where else f"{resource}: {p.what}" for p in refused.problems)
    if not name:
        verdict.unnamed.append(why)
        return
    verdict.accepted.pop(name, None)
    verdict.heartbeats.pop(name, None)
    verdict.rejected[name] = why
