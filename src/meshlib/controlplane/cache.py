"""What each group of clients is served: the lower level of the control plane."""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager

from ..model import Cluster, ClusterLoadAssignment, Listener, RouteConfiguration, Snapshot, gather
from ..xds.codec import Resource
from .node import Node
from .versions import PackedSnapshot, Packer

Watcher = Callable[[PackedSnapshot], None]


def by_node_id(node: Node) -> Hashable:
    """Every node is a group of its own."""
    return node.id


class SnapshotCache:
    """Snapshots by node group; a new one is told to every stream of its group.

    ``node_hash`` says which group a node belongs to; ``missing`` is called for a node whose
    group has no snapshot yet, and may set one. Belongs to one event loop.
    """

    def __init__(
        self,
        node_hash: Callable[[Node], Hashable] = by_node_id,
        *,
        missing: Callable[[Node], None] | None = None,
    ) -> None:
        self._node_hash = node_hash
        self._missing = missing
        self._packer = Packer()
        self._snapshots: dict[Hashable, PackedSnapshot] = {}
        self._watchers: dict[Hashable, set[Watcher]] = defaultdict(set)

    @property
    def groups(self) -> Collection[Hashable]:
        """The groups that have a snapshot."""
        return tuple(self._snapshots)

    def set_snapshot(
        self,
        node_group: Hashable,
        resources: Snapshot | Iterable[Resource],
        version: str | None = None,
    ) -> PackedSnapshot:
        """Serve these resources to the group from now on; without ``version``, one by content.

        Raises :class:`ConfigError` for references that lead nowhere; then nothing changes.
        """
        snapshot = resources if isinstance(resources, Snapshot) else _gathered(resources)
        snapshot.check()
        last = self._snapshots.get(node_group)
        packed = self._packer.pack(snapshot, last, version)
        self._snapshots[node_group] = packed
        for watcher in tuple(self._watchers.get(node_group, ())):
            watcher(packed)
        return packed

    def clear(self, node_group: Hashable) -> None:
        """Forget the group's snapshot; its clients keep what they have."""
        self._snapshots.pop(node_group, None)

    def snapshot_of(self, node: Node) -> PackedSnapshot | None:
        group = self._node_hash(node)
        if group not in self._snapshots and self._missing is not None:
            self._missing(node)
        return self._snapshots.get(group)

    def forget_unused(self) -> None:
        """Call after all groups were set anew: what none of them uses is dropped."""
        self._packer.forget_unused()

    def is_watched(self, node_group: Hashable) -> bool:
        return node_group in self._watchers

    @contextmanager
    def watching(self, node: Node, watcher: Watcher) -> Iterator[None]:
        """Tell ``watcher`` of the snapshot in force, and of each later one."""
        group = self._node_hash(node)
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


def _gathered(resources: Iterable[Resource]) -> Snapshot:
    given = tuple(resources)
    return gather(
        listeners=[r for r in given if isinstance(r, Listener)],
        routes=[r for r in given if isinstance(r, RouteConfiguration)],
        clusters=[r for r in given if isinstance(r, Cluster)],
        endpoints=[r for r in given if isinstance(r, ClusterLoadAssignment)],
    )
