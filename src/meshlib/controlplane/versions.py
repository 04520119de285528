"""Resources ready for the wire, with versions that are made of their content.

Replicas of the control plane that read the same files therefore agree about versions, and a
resource that did not change is never sent again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model import Snapshot
from ..xds.codec import Resource, encode
from ..xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
"""In the order in which they are pushed: make before break (xDS, "Eventual consistency")."""


@dataclass(frozen=True, slots=True)
class PackedResource:
    """``packed`` is the ``google.protobuf.Any``; equality is that of name and content."""

    type_url: str
    name: str
    version: str
    packed: Any = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class PackedType:
    """All resources of one type. Compared by identity: equal ones are kept, not remade."""

    version: str
    resources: Mapping[str, PackedResource]


@dataclass(frozen=True, slots=True, eq=False)
class PackedSnapshot:
    version: str
    types: Mapping[str, PackedType]


class Packer:
    """Packs snapshots; a resource equal to one of the generation before is not encoded again.

    Building messages is what costs (about 3 µs an endpoint), so scopes share them too.
    """

    def __init__(self) -> None:
        self._known: dict[Resource, PackedResource] = {}
        self._used: dict[Resource, PackedResource] = {}

    def pack(
        self, snapshot: Snapshot, last: PackedSnapshot | None = None, version: str | None = None
    ) -> PackedSnapshot:
        """``last`` is what the same clients were served before: its unchanged types are kept.

        ``version`` replaces the versions by content.
        """
        before = last.types if last is not None else {}
        types = {
            type_url: self._type(resources, before.get(type_url), version)
            for type_url, resources in _by_type(snapshot).items()
        }
        combined = digest(f"{url} {kind.version}".encode() for url, kind in types.items())
        return PackedSnapshot(version or combined, types)

    def forget_unused(self) -> None:
        """Drop what no snapshot has used since the last time."""
        self._known, self._used = self._used, {}

    def _type(
        self, resources: Iterable[Resource], before: PackedType | None, version: str | None
    ) -> PackedType:
        packed = {one.name: one for one in map(self._packed, resources)}
        made = version or digest(f"{r.name} {r.version}".encode() for r in packed.values())
        if before is not None and before.version == made and before.resources == packed:
            return before
        return PackedType(made, packed)

    def _packed(self, resource: Resource) -> PackedResource:
        found = self._used.get(resource) or self._known.get(resource)
        if found is None:
            packed = encode(resource)
            name = getattr(resource, "name", "") or getattr(resource, "cluster_name", "")
            found = PackedResource(packed.type_url, name, digest([packed.value]), packed)
        self._used[resource] = found
        return found


def digest(parts: Iterable[bytes]) -> str:
    made = hashlib.blake2b(digest_size=6)
    for part in parts:
        made.update(len(part).to_bytes(8, "big"))
        made.update(part)
    return made.hexdigest()


def _by_type(snapshot: Snapshot) -> dict[str, list[Resource]]:
    rooms: dict[str, Mapping[str, Resource]] = {
        CLUSTER: snapshot.clusters,
        ENDPOINT: snapshot.endpoints,
        LISTENER: snapshot.listeners,
        ROUTE: snapshot.routes,
    }
    return {type_url: [room[name] for name in sorted(room)] for type_url, room in rooms.items()}
