"""Resources that people made themselves: messages of any pool, or proto-JSON with its ``@type``.

Taken as they are. A message without a name (or one that meshlib has no description of) goes into an
``envoy.service.discovery.v3.Resource``, which may also carry the version and how long
it lives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message

from ..errors import ConfigError, Problem
from ..xds.protos import from_json, message_class

Raw = Message | Mapping[str, Any]
ANY = "google.protobuf.Any"
WRAPPER = "envoy.service.discovery.v3.Resource"
NANOS = 1_000_000_000
PREFIX = "type.googleapis.com/"


@dataclass(frozen=True, slots=True)
class Read:
    """``packed`` is a ``google.protobuf.Any`` of our pool; without ``version``, none was given.

    ``ttl`` is in seconds.
    """

    name: str
    version: str
    packed: Any
    ttl: float | None = None


def fit(what: str, text: object) -> None:
    """Raises :class:`ConfigError` for what cannot be a name or a version on the wire."""
    if not isinstance(text, str):
        raise ConfigError(Problem(what, f"{text!r} is not a string"))
    if not text:
        raise ConfigError(Problem(what, "it is empty"))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(Problem(what, f"{text!r} is not Unicode")) from None


def read(given: Raw) -> Read:
    """Raises :class:`ConfigError` for what has no type, no name or no such fields."""
    packed = _packed(given)
    packed.type_url = PREFIX + packed.type_url.rpartition("/")[2]  # by which it is asked for
    if packed.type_url != PREFIX + WRAPPER:
        return Read(_name(packed), "", packed)
    wrapper: Any = message_class(WRAPPER).FromString(packed.value)
    if not wrapper.HasField("resource"):
        raise ConfigError(Problem(f"resource {wrapper.name!r}", "the wrapper is empty"))
    wrapper.resource.type_url = PREFIX + wrapper.resource.type_url.rpartition("/")[2]
    name = wrapper.name or _name(wrapper.resource)
    ttl = wrapper.ttl.ToNanoseconds() / NANOS if wrapper.HasField("ttl") else None
    return Read(name, wrapper.version, wrapper.resource, ttl)


def _packed(given: Raw) -> Any:
    if isinstance(given, Mapping):
        return from_json(given, where=str(given.get("name", "resource")))
    if not isinstance(given, Message):
        said = f"a {type(given).__name__} is neither of the model, nor a message, nor proto-JSON"
        raise ConfigError(Problem("resource", said))
    kind, content = given.DESCRIPTOR.full_name, given.SerializeToString(deterministic=True)
    if kind == ANY:
        return message_class(ANY).FromString(content)
    return message_class(ANY)(type_url=PREFIX + kind, value=content)


def _name(packed: Any) -> str:
    kind = packed.type_url.rpartition("/")[2]
    try:
        message = message_class(kind).FromString(packed.value)
    except KeyError:
        said = f"meshlib does not know {kind!r}: give it inside an {WRAPPER}, with its name"
        raise ConfigError(Problem("resource", said)) from None
    except DecodeError as garbage:
        raise ConfigError(Problem("resource", f"not a valid {kind}: {garbage}")) from garbage
    name = getattr(message, "name", "") or getattr(message, "cluster_name", "")
    if not name:
        raise ConfigError(Problem("resource", f"a {kind} without a name"))
    return str(name)
