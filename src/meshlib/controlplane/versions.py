"""Resources ready for the wire, with versions that are made of their content.

Replicas of the control plane that read the same files therefore agree about versions, and a
resource that did not change is never sent again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Self
from weakref import WeakValueDictionary

from ..errors import ConfigError, Problem
from ..model import Snapshot
from ..xds.codec import Resource, encode
from ..xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from .raw import Raw, fit, read

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
"""In the order in which they are pushed: make before break (xDS, "Eventual consistency")."""
LONGEST_TTL = 10_000 * 365.25 * 86_400
"""Seconds: the most that a duration of protobuf may be."""
Given = Resource | Raw
"""What may be served: a value of the model, or any message of protobuf (see :mod:`.raw`)."""

_serials = count(1)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class PackedResource:
    """``packed`` is the ``google.protobuf.Any``; equality is that of name and content.

    ``source`` is the value of the model that it was made of, if it was. A client of which nothing
    is heard for ``ttl`` seconds forgets it.
    """

    type_url: str
    name: str
    version: str
    packed: Any = field(compare=False, repr=False)
    source: Resource | None = field(default=None, compare=False, repr=False)
    ttl: float | None = None

    @property
    def mark(self) -> int:
        """Its share in the version of its type."""
        made = hashlib.blake2b(f"{self.name} {self.version}".encode(), digest_size=8)
        return int.from_bytes(made.digest(), "big")


@dataclass(frozen=True, slots=True, eq=False)
class PackedType:
    """All resources of one type. Compared by identity: equal ones are kept, not remade.

    ``changes`` are the names in which it differs from the one whose serial ``after`` says: who
    has weighed that one need not look at the others. ``total`` adds the marks of all resources.
    """

    version: str
    resources: Mapping[str, PackedResource]
    after: int = 0
    changes: frozenset[str] = frozenset()
    total: int = 0
    serial: int = field(default_factory=lambda: next(_serials))

    def changes_since(self, seen: "PackedType | None") -> frozenset[str] | None:
        """The names to weigh anew; ``None`` for all of them."""
        return self.changes if seen is not None and seen.serial == self.after else None

    def changed(
        self, put: Iterable[PackedResource], drop: Iterable[str], version: str | None
    ) -> "PackedType":
        """With these instead: what it costs follows from the number of changes."""
        changes: dict[str, PackedResource | None] = dict.fromkeys(drop)
        changes |= {resource.name: resource for resource in put}
        changes = {n: new for n, new in changes.items() if self.resources.get(n) != new}
        if not changes and version in (None, self.version):
            return self
        resources, total = dict(self.resources), self.total
        for name, new in changes.items():
            old = resources.pop(name, None)
            total -= old.mark if old is not None else 0
            if new is not None:
                resources[name], total = new, total + new.mark
        total %= 1 << 64
        return PackedType(
            version or f"{total:016x}", resources, self.serial, frozenset(changes), total
        )


NOTHING = PackedType("", {})


@dataclass(frozen=True, slots=True, eq=False)
class PackedSnapshot:
    version: str
    types: Mapping[str, PackedType]

    def of(self, type_url: str) -> PackedType:
        return self.types.get(type_url, NOTHING)

    @classmethod
    def gathered(cls, types: Mapping[str, PackedType], version: str | None) -> Self:
        """``version``, or one by content."""
        if version is not None:
            fit("version", version)
        return cls(version or digest(f"{u} {k.version}".encode() for u, k in types.items()), types)


class Packer:
    """Packs snapshots; a resource equal to one that is still served is not encoded again.

    Building messages is what costs (about 3 µs an endpoint), so scopes share them too.
    """

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Resource, PackedResource] = WeakValueDictionary()
        self._by_identity: WeakValueDictionary[int, PackedResource] = WeakValueDictionary()

    def pack(
        self,
        resources: Snapshot | Iterable[Given],
        last: PackedSnapshot | None = None,
        version: str | None = None,
        ttl: float | None = None,
    ) -> PackedSnapshot:
        """``last`` is what the same clients were served before: its unchanged types are kept.

        ``version`` replaces the versions by content. Raises :class:`ConfigError` where one name
        stands for two different resources.
        """
        given = _all(resources) if isinstance(resources, Snapshot) else resources
        named: dict[str, dict[str, PackedResource]] = {type_url: {} for type_url in TYPES}
        for packed in (self.packed(one, ttl) for one in given):
            others = named.setdefault(packed.type_url, {})
            if others.setdefault(packed.name, packed) != packed:
                raise ConfigError(Problem(packed.name, "two different resources of one name"))
        known = last.types if last is not None else {}
        for type_url in known.keys() - named.keys():
            named[type_url] = {}
        types = {
            url: _type(made, known.get(url, NOTHING), version)
            for url, made in named.items()
            if made or url in TYPES
        }
        return PackedSnapshot.gathered(types, version)

    def packed(self, given: Given, ttl: float | None = None) -> PackedResource:
        """``ttl`` is for what does not say by itself how long it lives."""
        if isinstance(given, Resource):
            return _living(self._made(given), ttl)
        raw = read(given)
        version = raw.version or digest([raw.packed.value])
        made = PackedResource(raw.packed.type_url, raw.name, version, raw.packed)
        return _living(made, ttl if raw.ttl is None else raw.ttl)

    def _made(self, given: Resource) -> PackedResource:
        # To look for an equal one means to hash it all; the very same one is found at once.
        found = self._by_identity.get(id(given))
        if found is not None and found.source is given:
            return found
        found = self._known.get(given)
        if found is None:
            name = getattr(given, "name", "") or getattr(given, "cluster_name", "")
            fit(f"the name of a {type(given).__name__}", name)
            packed = _encoded(given, name)
            found = PackedResource(packed.type_url, name, digest([packed.value]), packed, given)
            self._known[given] = self._by_identity[id(given)] = found
        return found


def _encoded(given: Resource, name: str) -> Any:
    try:
        return encode(given)
    except (UnicodeEncodeError, TypeError, ValueError) as unfit:
        raise ConfigError(Problem(name, f"it cannot be written: {unfit}")) from unfit


def _living(made: PackedResource, ttl: float | None) -> PackedResource:
    if ttl is None:
        return made
    if not 0 < ttl <= LONGEST_TTL:
        raise ConfigError(Problem(made.name, f"ttl: {ttl:g} s is no time to live"))
    return replace(made, ttl=ttl)


def digest(parts: Iterable[bytes]) -> str:
    made = hashlib.blake2b(digest_size=6)
    for part in parts:
        made.update(len(part).to_bytes(8, "big"))
        made.update(part)
    return made.hexdigest()


def _type(
    resources: Mapping[str, PackedResource], before: PackedType, version: str | None
) -> PackedType:
    gone = before.resources.keys() - resources.keys()
    made = before.changed(resources.values(), gone, version)
    # A type that never held anything has a version all the same: clients that ask are answered.
    return made if made.version else PackedType(f"{0:016x}", {})


def _all(snapshot: Snapshot) -> Iterable[Resource]:
    rooms: tuple[Mapping[str, Resource], ...] = (
        *(snapshot.clusters, snapshot.endpoints, snapshot.listeners, snapshot.routes),
        *(snapshot.extensions, snapshot.runtimes),
    )
    return (room[name] for room in rooms for name in sorted(room))
