"""What each scope is offered, as each kind of client understands it."""

from collections.abc import Iterator

from ..model import Snapshot
from ..xds.registration import Workload
from .compile import Compiler
from .fingerprints import Fingerprints
from .node import ClientKind
from .profiles import Report, adapt
from .registry import Registry, joined
from .scope import Scope
from .snapshots import resources_of
from .world import World

Sound = dict[tuple[Scope, ClientKind], tuple[object, ...]]
MAX_GROUPS = 1000
"""Of how many it is remembered what was made for them."""


class Offers:
    """Compiles worlds one after the other, with the workloads that are registered.

    Every thread may use it: what it remembers only saves work.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._compiler = Compiler()
        self._fingerprints = Fingerprints()
        self._joined: tuple[World, tuple[Workload, ...], World] | None = None
        self._seen: dict[Scope, tuple[World, Snapshot]] = {}
        self._sound: Sound = {}

    def to(self, world: World, scope: Scope, kind: ClientKind, report: Report) -> Snapshot:
        """Raises :class:`ConfigError` where a reference would dangle."""
        seen = self._seen_by(scope, world)
        snapshot = adapt(seen, kind, report)
        self._check(snapshot, seen, (scope, kind))
        return snapshot

    def version_of(self, world: World) -> str:
        return self._fingerprints.of(world)

    def check(self, world: World, scope: Scope, kind: ClientKind) -> None:
        """Raise where :meth:`to` would; nobody is told of what is adapted."""
        seen = self._seen_by(scope, world)
        if not self._is_sound(seen, (scope, kind)):
            self._check(adapt(seen, kind, _nobody_yet), seen, (scope, kind))

    def _seen_by(self, scope: Scope, world: World) -> Snapshot:
        world = self._with_registered(world)
        known = self._seen.get(scope)
        if known is None or known[0] is not world:
            if len(self._seen) >= MAX_GROUPS:
                self._seen, self._sound = {}, {}
            known = self._seen[scope] = world, resources_of(world, scope, self._compiler)
        return known[1]

    def _with_registered(self, world: World) -> World:
        """The same object while nothing of it changes."""
        workloads, known = self._registry.workloads, self._joined
        if known is None or known[0] is not world or known[1] != workloads:
            known = self._joined = world, workloads, joined(world, workloads)
        return known[2]

    def _check(self, snapshot: Snapshot, seen: Snapshot, group: tuple[Scope, ClientKind]) -> None:
        if not self._is_sound(seen, group):
            snapshot.check()
            self._sound[group] = tuple(_referring(seen))

    def _is_sound(self, seen: Snapshot, group: tuple[Scope, ClientKind]) -> bool:
        """Whether what was checked before refers to the same names in the same words."""
        before, now = self._sound.get(group), tuple(_referring(seen))
        return before is not None and len(before) == len(now) and all(map(_same, before, now))


def _same(one: object, other: object) -> bool:
    return one is other or (isinstance(one, str) and one == other)


def _referring(snapshot: Snapshot) -> Iterator[object]:
    """All that refers to anything, and the names of what does not itself."""
    yield from snapshot.listeners.values()
    yield from snapshot.routes.values()
    yield from snapshot.clusters.values()
    yield from snapshot.extensions.values()
    yield from snapshot.endpoints
    yield from snapshot.runtimes


def _nobody_yet(downgrade: object) -> None:
    """There is no client of this kind to be told."""
