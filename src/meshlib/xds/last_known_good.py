"""The last good configuration on disk, for a start while no control plane can be asked.

A file holds what one member was told by its control plane: a line with what kind of file it is and
the checksum of the rest, a line of JSON that says whose it is and how old, and then the resources
as xDS has them.
"""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from ..clock import Clock
from ..errors import ConfigError, Problem
from ..model import (
    Cluster,
    ClusterLoadAssignment,
    ExtensionConfig,
    Listener,
    RouteConfiguration,
    Snapshot,
    gather,
)
from ..model.runtime import RuntimeLayer
from ..model.security import Secret
from .codec import Resource, decode, encode
from .protos import message_class

KIND = "meshlib-last-known-good 1"
LARGEST = 1 << 30
FROM_THE_FUTURE = 60.0
"""Seconds by which clocks may disagree."""
RESPONSE = "envoy.service.discovery.v3.DiscoveryResponse"
WRAPPED = "envoy.service.discovery.v3.Resource"
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Saved:
    """``absent``: listeners that the control plane does not have. ``age`` in seconds."""

    snapshot: Snapshot
    absent: frozenset[str]
    age: float


class Store:
    """One member's file in a folder that many may share.

    ``identity`` is who the member is and whom it asks: what was told to another is none of its
    business. ``wall`` is the time of day in seconds since 1970, as the file outlives the process.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, wall: Clock) -> None:
        self._folder = folder
        self._identity = json.loads(json.dumps(identity, sort_keys=True, default=str))
        self._wall = wall
        named = json.dumps(self._identity, sort_keys=True).encode()
        self.path = folder / f"{hashlib.sha256(named).hexdigest()[:24]}.xds"
        self._packed: dict[int, tuple[Resource, bytes]] = {}

    def save(self, snapshot: Snapshot, absent: frozenset[str]) -> None:
        """Replace the file in one step; raises :class:`OSError` where that cannot be done."""
        said = {
            "identity": self._identity,
            "saved": self._wall(),
            "version": snapshot.version,
            "absent": sorted(absent),
        }
        rest = json.dumps(said, sort_keys=True).encode() + b"\n" + self._body(snapshot)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{self.path.stem}-", dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:  # mkstemp makes it readable by its owner only
                file.write(f"{KIND} {hashlib.sha256(rest).hexdigest()}\n".encode())
                file.write(rest)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise

    def load(self, max_age: float) -> Saved | None:
        """What was saved; ``None``: nothing was.

        Raises :class:`ConfigError` for a file that is not to be trusted, is too old, or that no
        configuration can be made of.
        """
        try:
            content = self._read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused(str(error)) from error
        first, _, rest = content.partition(b"\n")
        kind, _, checksum = first.decode("latin-1").rpartition(" ")
        if kind != KIND:
            raise self._refused("is not a configuration that this version of meshlib kept")
        if hashlib.sha256(rest).hexdigest() != checksum:
            raise self._refused("is damaged: its checksum is wrong")
        header, _, body = rest.partition(b"\n")
        said = json.loads(header)
        if said["identity"] != self._identity:
            raise self._refused("was kept for another member of the mesh")
        age = self._wall() - said["saved"]
        if not -FROM_THE_FUTURE <= age <= max_age:
            old = f"is {age:.0f} s old, and at most {max_age:.0f} s are allowed"
            raise self._refused(old if age > 0 else "comes from the future: is the clock right?")
        snapshot = self._snapshot(body, said["version"])
        return Saved(snapshot, frozenset(said["absent"]), max(0.0, age))

    def _read(self) -> bytes:
        folder = self._folder.stat()
        if folder.st_mode & stat.S_IWOTH:
            raise self._refused("is in a folder that everybody may write to")
        handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise self._refused("is not a file")
            if found.st_uid != os.geteuid() or found.st_mode & OTHERS_MAY_WRITE:
                raise self._refused("belongs to somebody else, or others may write to it")
            if found.st_size > LARGEST:
                raise self._refused(f"is larger than {LARGEST} bytes")
            return file.read()

    def _refused(self, why: str) -> ConfigError:
        return ConfigError(Problem(f"last known good {self.path}", why))

    def _body(self, snapshot: Snapshot) -> bytes:
        """The resources; of those that were saved before, the same bytes."""
        rooms = (
            *(snapshot.listeners, snapshot.routes, snapshot.clusters),
            *(snapshot.endpoints, snapshot.runtimes, snapshot.extensions),
        )
        packed: dict[int, tuple[Resource, bytes]] = {}
        message: Any = message_class(RESPONSE)()
        for room in rooms:
            for name, resource in room.items():
                known = self._packed.get(id(resource))
                if known is None or known[0] is not resource:
                    known = resource, _wrapped(name, resource)
                packed[id(resource)] = known
                wrapper = message.resources.add()
                wrapper.type_url, wrapper.value = f"type.googleapis.com/{WRAPPED}", known[1]
        self._packed = packed
        body: bytes = message.SerializeToString(deterministic=True)
        return body

    def _snapshot(self, body: bytes, version: str) -> Snapshot:
        listeners: list[Listener] = []
        routes: list[RouteConfiguration] = []
        clusters: list[Cluster] = []
        endpoints: list[ClusterLoadAssignment] = []
        runtimes: list[RuntimeLayer] = []
        extensions: list[ExtensionConfig] = []
        try:
            message: Any = message_class(RESPONSE).FromString(body)
            for wrapper in message.resources:
                inner: Any = message_class(WRAPPED).FromString(wrapper.value).resource  # type: ignore[attr-defined]
                match decode(inner.type_url, inner.value).resource:
                    case Listener() as listener:
                        listeners.append(listener)
                    case RouteConfiguration() as table:
                        routes.append(table)
                    case Cluster() as cluster:
                        clusters.append(cluster)
                    case ClusterLoadAssignment() as assignment:
                        endpoints.append(assignment)
                    case RuntimeLayer() as layer:
                        runtimes.append(layer)
                    case ExtensionConfig() as extension:
                        extensions.append(extension)
                    case Secret(name=name):
                        raise self._refused(f"holds the secret {name!r}, which no file may")
        except (ConfigError, DecodeError) as error:
            raise self._refused(f"cannot be read any more: {error}") from error
        return gather(
            listeners=listeners,
            routes=routes,
            clusters=clusters,
            endpoints=endpoints,
            runtimes=runtimes,
            extensions=extensions,
            version=version,
        )


def _wrapped(name: str, resource: Resource) -> bytes:
    message: Any = message_class(WRAPPED)(name=name)
    message.resource.CopyFrom(encode(resource))
    wrapped: bytes = message.SerializeToString(deterministic=True)
    return wrapped
