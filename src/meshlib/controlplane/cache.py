"""What each group of clients is served: the lower level of the control plane."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from ..errors import ConfigError, MeshError
from ..model import (
    Cluster,
    ClusterLoadAssignment,
    ExtensionConfig,
    Listener,
    RouteConfiguration,
    Snapshot,
    gather,
)
from ..xds.codec import decode
from ..xds.types import ENDPOINT, EXTENSION
from .discovery import Nack
from .node import Node
from .versions import NOTHING, TYPES, Given, PackedResource, PackedSnapshot, Packer

Watcher = Callable[[PackedSnapshot], None]


def by_node_id(node: Node) -> Hashable:
    """Every node is a group of its own."""
    return node.id


class SnapshotCache:
    """Snapshots by node group; a new one is told to every stream of its group.

    ``node_hash`` says which group a node belongs to; ``missing`` is called for a node whose
    group has no snapshot yet, and may set one. With ``check`` (the default) a snapshot whose
    references lead nowhere is refused. With ``rollback_on_nack`` a snapshot of which a client
    refuses something new gives way to the one before. Belongs to one event loop.

    Resources are values of :mod:`meshlib.model`, protobuf messages of any type, or proto-JSON with
    its ``@type``. Those that nothing refers to are served too, to whom asks for them.
    """

    def __init__(
        self,
        node_hash: Callable[[Node], Hashable] = by_node_id,
        *,
        missing: Callable[[Node], None] | None = None,
        check: bool = True,
        rollback_on_nack: bool = False,
    ) -> None:
        self._node_hash = node_hash
        self._missing = missing
        self._check = check
        self._rollback_on_nack = rollback_on_nack
        self._packer = Packer()
        self._snapshots: dict[Hashable, PackedSnapshot] = {}
        self._before: dict[Hashable, PackedSnapshot] = {}
        self._watchers: dict[Hashable, set[Watcher]] = defaultdict(set)
        self._observers: list[Watcher] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def groups(self) -> Collection[Hashable]:
        """The groups that have a snapshot."""
        return tuple(self._snapshots)

    # What is served

    def set_snapshot(
        self,
        node_group: Hashable,
        resources: Snapshot | Iterable[Given],
        version: str | None = None,
        *,
        check: bool | None = None,
        ttl: float | None = None,
    ) -> PackedSnapshot:
        """Serve these resources, and no others, to the group from now on.

        ``version`` is what clients are told; without it, one by content. A resource that did not
        change is not sent again under another version. Clients that hear nothing for ``ttl``
        seconds forget them; while they are connected they hear of each three times in that time.
        Raises :class:`ConfigError` for references that lead nowhere; then nothing changes.
        """
        given = resources if isinstance(resources, Snapshot) else tuple(resources)
        packed = self._packer.pack(given, self._snapshots.get(node_group), version, ttl)
        if self._check if check is None else check:
            (given if isinstance(given, Snapshot) else _gathered(packed)).check()
        return self._put_in_force(node_group, packed)

    def follow(self, node_group: Hashable, resources: Snapshot | Iterable[Given]) -> PackedSnapshot:
        """Like :meth:`set_snapshot` for what follows from no decision: the last change stays the
        one that may be taken back, and this with it is not."""
        last, before = self._snapshots.get(node_group), self._before.get(node_group)
        packed = self.set_snapshot(node_group, resources)
        self._before.pop(node_group, None)
        if last is not None and before is not None:
            self._before[node_group] = _followed(before, last, packed)
        return packed

    def update(
        self,
        node_group: Hashable,
        resources: Iterable[Given],
        version: str | None = None,
        *,
        check: bool | None = None,
        ttl: float | None = None,
    ) -> PackedSnapshot:
        """Serve these resources beside the others of the group, or in place of their namesakes.

        Only what changed is looked at (that, and for anything but endpoints the references of
        all): one change among thousands costs each client little. Types keep their version
        unless something of them changed.
        """
        by_type: dict[str, list[PackedResource]] = defaultdict(list)
        for packed in (self._packer.packed(one, ttl) for one in resources):
            by_type[packed.type_url].append(packed)
        refers = any(url in (*TYPES, EXTENSION) and url != ENDPOINT for url in by_type)
        check = (self._check if check is None else check) and refers
        return self._change(node_group, by_type, {}, version, check=check)

    def remove(
        self,
        node_group: Hashable,
        names: Iterable[str],
        *,
        type_url: str | None = None,
        version: str | None = None,
        check: bool | None = None,
    ) -> PackedSnapshot:
        """Serve the resources of these names no longer: of this type, or of every type."""
        if isinstance(names, str):
            raise ConfigError(f"{names!r} is one name, and a list of names is wanted")
        gone = tuple(names)
        last = self._snapshots.get(node_group, PackedSnapshot("", {}))
        types = [type_url] if type_url is not None else list(last.types)
        check = self._check if check is None else check
        return self._change(node_group, {}, dict.fromkeys(types, gone), version, check=check)

    def clear(self, node_group: Hashable) -> None:
        """Forget the group's snapshot; its clients keep what they have."""
        self._snapshots.pop(node_group, None)
        self._before.pop(node_group, None)

    def snapshot_of(self, node: Node) -> PackedSnapshot | None:
        group = self._node_hash(node)
        if group not in self._snapshots and self._missing is not None:
            self._missing(node)
        return self._snapshots.get(group)

    # What clients say to it

    def refused(self, node: Node, nack: Nack) -> None:
        """A client refused something: roll back, if that is wished and would help."""
        if self._rollback_on_nack and self.came_with_last_change(node, nack):
            self.roll_back(self._node_hash(node))

    def came_with_last_change(self, node: Node, nack: Nack) -> bool:
        """Whether what was refused is in force, and was not before the last change."""
        group = self._node_hash(node)
        now, before = self._snapshots.get(group), self._before.get(group)
        if now is None or before is None:
            return False
        offered, earlier = now.of(nack.type_url).resources, before.of(nack.type_url).resources
        return any(
            offered.get(resource.name) == resource != earlier.get(resource.name)
            for resource in nack.refused
        )

    def roll_back(self, node_group: Hashable) -> PackedSnapshot | None:
        """Put the snapshot before the last back in force, once."""
        before = self._before.pop(node_group, None)
        if before is not None:
            self._snapshots[node_group] = before
            self._tell(node_group, before)
        return before

    # Who hears of it

    def is_watched(self, node_group: Hashable) -> bool:
        return node_group in self._watchers

    @contextmanager
    def observed(self, observer: Watcher) -> Iterator[None]:
        """Tell ``observer`` of the snapshots of all groups, those in force first."""
        for snapshot in tuple(self._snapshots.values()):
            observer(snapshot)
        self._observers.append(observer)
        try:
            yield
        finally:
            self._observers.remove(observer)

    @contextmanager
    def watching(self, node: Node, watcher: Watcher) -> Iterator[None]:
        """Tell ``watcher`` of the snapshot in force, and of each later one."""
        group = self._node_hash(node)
        self._loop = asyncio._get_running_loop()  # noqa: SLF001 - there may be none
        self._watchers[group].add(watcher)
        try:
            current = self.snapshot_of(node)
            if current is not None:
                watcher(current)
            yield
        finally:
            self._watchers[group].discard(watcher)
            if not self._watchers[group]:
                del self._watchers[group]

    def _change(
        self,
        group: Hashable,
        put: Mapping[str, Iterable[PackedResource]],
        drop: Mapping[str, Iterable[str]],
        version: str | None,
        *,
        check: bool,
    ) -> PackedSnapshot:
        last = self._snapshots.get(group) or self._packer.pack(())
        types = dict(last.types)
        for url in put.keys() | drop.keys():
            before = types.get(url, NOTHING)
            types[url] = before.changed(put.get(url, ()), drop.get(url, ()), version)
        packed = PackedSnapshot.gathered(types, version)
        if check:
            _gathered(packed).check()
        return self._put_in_force(group, packed)

    def _put_in_force(self, group: Hashable, packed: PackedSnapshot) -> PackedSnapshot:
        if self._watchers and asyncio._get_running_loop() is not self._loop:  # noqa: SLF001
            raise MeshError("a cache is changed on the event loop that serves it")
        if group in self._snapshots:
            self._before[group] = self._snapshots[group]
        self._snapshots[group] = packed
        self._tell(group, packed)
        return packed

    def _tell(self, group: Hashable, packed: PackedSnapshot) -> None:
        for watcher in (*self._watchers.get(group, ()), *self._observers):
            watcher(packed)


def _followed(before: PackedSnapshot, last: PackedSnapshot, now: PackedSnapshot) -> PackedSnapshot:
    """What was before, with what has become other since the last."""
    types = dict(before.types)
    for url in now.types:
        old, new = last.of(url).resources, now.of(url).resources
        put = [one for name, one in new.items() if old.get(name) != one]
        types[url] = before.of(url).changed(put, old.keys() - new.keys(), None)
    return PackedSnapshot.gathered(types, before.version)


def _gathered(packed: PackedSnapshot) -> Snapshot:
    """The same as values of the model; raises :class:`ConfigError` for what it cannot say."""
    given = [
        resource.source or decode(url, resource.packed.value).resource
        for url in TYPES
        for resource in packed.of(url).resources.values()
    ]
    return gather(
        listeners=[r for r in given if isinstance(r, Listener)],
        routes=[r for r in given if isinstance(r, RouteConfiguration)],
        clusters=[r for r in given if isinstance(r, Cluster)],
        endpoints=[r for r in given if isinstance(r, ClusterLoadAssignment)],
        extensions=_extensions(packed),
    )


def _extensions(packed: PackedSnapshot) -> Iterator[ExtensionConfig]:
    """Those that the model can say: the others are for clients with filters of their own."""
    for resource in packed.of(EXTENSION).resources.values():
        with suppress(ConfigError):
            made = resource.source or decode(EXTENSION, resource.packed.value).resource
            if isinstance(made, ExtensionConfig):
                yield made
