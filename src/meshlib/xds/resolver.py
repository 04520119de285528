"""Joins listeners, filters, routes, clusters and endpoints into one snapshot (gRFC A74)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..model import (
    Cluster,
    ClusterLoadAssignment,
    ExtensionConfig,
    FilterDiscovery,
    Listener,
    RouteConfiguration,
    Snapshot,
    clusters_of_filters,
    discovered,
    referenced_clusters,
)
from .ads import SubscriptionChanged
from .extensions import found, goes_without
from .secrets import Keeper, of_cluster
from .secrets import wanted as wanted_secrets
from .types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SECRET
from .watches import Entry, Watches

MAX_AGGREGATION = 16
"""Aggregates below aggregates; what is deeper is not followed (gRFC A37)."""


@dataclass(frozen=True, slots=True)
class Update:
    """``absent``: watched listeners that are known not to exist."""

    snapshot: Snapshot
    absent: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tree:
    """A listener, what its filters discovered, and its routes: used and replaced together."""

    listener: Listener
    table: RouteConfiguration
    routed: tuple[str, ...]
    extensions: tuple[ExtensionConfig, ...] = ()

    @property
    def clusters(self) -> tuple[str, ...]:
        """Those that routes lead to, and those that the listener's filters ask."""
        listener = discovered(self.listener, {each.name: each for each in self.extensions})
        return (*self.routed, *(name for _, name in clusters_of_filters(listener)))


NO_TABLE = RouteConfiguration(name="")


@dataclass(frozen=True, slots=True)
class Wish:
    """A tree that is to serve, as far as it is known."""

    tree: Tree
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Branch:
    """A cluster that can be used; ``assignment`` ``None`` where it has no EDS, or that failed."""

    cluster: Cluster
    assignment: ClusterLoadAssignment | None


class Resolver:
    """Make before break: what is complete replaces what serves, and not a moment earlier.

    ``is_called`` says of a cluster whether calls to it are under way: what routes have left is kept
    up to date until they end (gRFC A31). ``keeper`` says which secrets are discovered.
    """

    def __init__(
        self,
        watches: Watches,
        runtime_layers: Iterable[str] = (),
        is_called: Callable[[str], bool] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._watches = watches
        self._keeper = keeper
        self._is_called = is_called
        self._held: dict[str, None] = {}
        self._layers = dict.fromkeys(runtime_layers)
        self._watched: dict[str, None] = {}
        self._trees: dict[str, Tree] = {}
        self._branches: dict[str, Branch] = {}
        self._subscribed: dict[str, dict[str, None]] = {}
        self._references: dict[int, tuple[RouteConfiguration, tuple[str, ...]]] = {}
        self._last = Update(Snapshot(), frozenset())

    def watch(self, listener: str) -> None:
        self._watched[listener] = None

    def refuses(self, config: ExtensionConfig) -> bool:
        """Is it of a kind that none of the filters takes that are to use it?"""
        asking = [d for x in self._known_listeners() if (d := x.discoveries.get(config.name))]
        return bool(asking) and not any(isinstance(config.config, d.types) for d in asking)

    def secrets(self) -> list[Entry]:
        """All that are asked for."""
        return [self._entry(SECRET, name) for name in self._subscribed.get(SECRET, ())]

    def resolve(self) -> tuple[SubscriptionChanged, ...]:
        """Take in what the watches know; what must be asked or forgotten for it."""
        wished = {name: wish for name in self._watched if (wish := self._wish(name))}
        trees = [wish.tree for wish in wished.values()]
        candidates = {name: wish.tree for name, wish in wished.items() if wish.is_complete}
        before = dict(self._trees)
        for name in self._watched:
            if self._entry(LISTENER, name).is_known_failed:
                self._trees.pop(name, None)
        wanted = self._wanted(trees, before.values())
        self._branches = self._grown(wanted)
        for name, tree in candidates.items():
            if all(self._is_settled(c, serving=name in self._trees) for c in tree.clusters):
                self._trees[name] = tree
        if self._is_called is not None and before != self._trees:
            self._hold(before.values())
        wanted = self._wanted(trees, self._trees.values())
        self._branches = {n: b for n, b in self._branches.items() if n in wanted}
        self._remember(trees)
        return self._subscribe(wanted)

    @property
    def holds(self) -> bool:
        """Is something kept for calls alone?"""
        return bool(self._held)

    def let_go(self) -> None:
        """Forget what routes have left and no call is under way to."""
        assert self._is_called is not None, "something is held"
        self._held = {name: None for name in self._held if self._is_called(name)}

    def _hold(self, before: Iterable[Tree]) -> None:
        """Calls may begin by the routes of before until the new ones are in force: look later."""
        referred = self._clusters_of(self._trees.values())
        left = {**self._held, **self._clusters_of(before)}
        self._held = {n: None for n in left if n not in referred and n in self._branches}

    def update(self, version: str) -> Update | None:
        """What the mesh is to run on now; ``None`` where nothing changed."""
        snapshot = self._snapshot(version)
        absent = frozenset(n for n in self._watched if self._entry(LISTENER, n).is_absent)
        update = Update(snapshot, absent)
        if update == self._last:
            return None
        self._last = update
        return update

    # The parts

    def _entry(self, type_url: str, name: str) -> Entry:
        return self._watches.get(type_url, name) or Entry(type_url=type_url, name=name)

    def _wish(self, name: str) -> Wish | None:
        """The tree as the control plane wants it now: routes and filters are waited for at once."""
        listener: Listener | None = self._entry(LISTENER, name).resource
        if listener is None:
            return None
        serving = name in self._trees
        extensions, are_warm = self._extensions(listener, serving=serving)
        table = self._table(listener, serving=serving)
        if table is None:
            return Wish(Tree(listener, NO_TABLE, (), extensions), is_complete=False)
        tree = Tree(listener, table, self._references_of(table), extensions)
        return Wish(tree, is_complete=are_warm)

    def _extensions(
        self, listener: Listener, *, serving: bool
    ) -> tuple[tuple[ExtensionConfig, ...], bool]:
        """What the filters discovered, and whether none of them waits (warming)."""
        made: list[ExtensionConfig] = []
        are_warm = True
        for name, discovery in listener.discoveries.items():
            entry = self._entry(EXTENSION, name)
            if (config := found(entry, discovery)) is not None:
                made.append(config)
            elif not self._goes_without(entry, discovery, serving=serving):
                are_warm = False
        return tuple(made), are_warm

    def _goes_without(self, entry: Entry, discovery: FilterDiscovery, *, serving: bool) -> bool:
        lost = self._watches.connection_error_of(entry.name)
        passing_error = bool(entry.error or lost)
        return goes_without(entry, discovery, serving=serving, passing_error=passing_error)

    def _table(self, listener: Listener, *, serving: bool) -> RouteConfiguration | None:
        if isinstance(listener.http.routes, RouteConfiguration):
            return listener.http.routes
        name = listener.http.routes.route_config_name
        entry = self._entry(ROUTE, name)
        if entry.resource is None and entry.is_known_failed and not serving:
            # Routes that do not exist route nothing: calls fail at once instead of waiting.
            return RouteConfiguration(name=name)
        table: RouteConfiguration | None = entry.resource
        return table

    def _grown(self, wanted: Iterable[str]) -> dict[str, Branch]:
        """The branches anew; an aggregate takes the place of an old one with all it is made of."""
        old = self._branches
        made = {name: b for name in wanted if (b := self._branch(name)) is not None}
        for name, branch in made.items():
            if branch.cluster.children and name in old and not self._is_ready(name, made):
                made[name] = old[name]
        return made

    def _is_ready(self, name: str, made: dict[str, Branch], depth: int = MAX_AGGREGATION) -> bool:
        if name not in made:
            return self._entry(CLUSTER, name).is_known_failed
        children = made[name].cluster.children if depth else ()
        return all(self._is_ready(child, made, depth - 1) for child in children)

    def _branch(self, name: str) -> Branch | None:
        """The cluster as it may serve: a new one once its endpoints and secrets are known."""
        entry, old = self._entry(CLUSTER, name), self._branches.get(name)
        if entry.resource is None:
            return None if entry.is_known_failed else self._refreshed(old)
        if not self._has_secrets(entry.resource):
            return self._refreshed(old)
        service = entry.resource.load_assignment_name
        if service is None:
            return Branch(entry.resource, None)
        endpoints = self._entry(ENDPOINT, service)
        if endpoints.resource is not None or endpoints.is_known_failed:
            return Branch(entry.resource, endpoints.resource)
        return self._refreshed(old)

    def _has_secrets(self, cluster: Cluster) -> bool:
        """Or is known to have to do without: then it is not connected to."""
        entries = [self._entry(SECRET, n) for n in of_cluster(cluster) if self._is_asked_for(n)]
        return all(entry.resource is not None or entry.error for entry in entries)

    def _is_asked_for(self, secret: str) -> bool:
        return self._keeper is not None and self._keeper.wants(secret)

    def _refreshed(self, branch: Branch | None) -> Branch | None:
        """The old cluster with the newest of its own endpoints."""
        if branch is None or branch.cluster.load_assignment_name is None:
            return branch
        newest = self._entry(ENDPOINT, branch.cluster.load_assignment_name).resource
        return Branch(branch.cluster, newest or branch.assignment)

    def _is_settled(self, cluster: str, *, serving: bool, depth: int = MAX_AGGREGATION) -> bool:
        """Usable, or known not to be.

        Where an older tree serves, a passing error is worth waiting for; where none does, the
        other clusters of the tree are better than nothing.
        """
        if cluster in self._branches:
            children = self._branches[cluster].cluster.children if depth else ()
            return all(self._is_settled(c, serving=serving, depth=depth - 1) for c in children)
        entry = self._entry(CLUSTER, cluster)
        if entry.is_known_failed:
            return True
        return not serving and self._has_passing_error(entry)

    def _has_passing_error(self, entry: Entry) -> bool:
        if entry.resource is not None and entry.resource.load_assignment_name is not None:
            entry = self._entry(ENDPOINT, entry.resource.load_assignment_name)
        return bool(entry.error or self._watches.connection_error_of(entry.name))

    # References

    def _references_of(self, table: RouteConfiguration) -> tuple[str, ...]:
        known = self._references.get(id(table))
        if known is not None and known[0] is table:
            return known[1]
        return tuple(dict.fromkeys(name for _, name in referenced_clusters(table)))

    def _remember(self, candidates: Iterable[Tree]) -> None:
        """Keep what large tables refer to, so that it is not counted again each time."""
        self._references = {id(t.table): (t.table, t.routed) for t in candidates}

    def _clusters_of(self, *groups: Iterable[Tree]) -> dict[str, None]:
        return {c: None for trees in groups for tree in trees for c in tree.clusters}

    def _wanted(self, *groups: Iterable[Tree]) -> dict[str, None]:
        return _with_children((*self._clusters_of(*groups), *self._held), self._known_children)

    def _known_children(self, name: str) -> Iterable[str]:
        """Those of the cluster that serves, and of the one that is to take its place."""
        cluster: Cluster | None = self._entry(CLUSTER, name).resource
        return (*self._serving_children(name), *(cluster.children if cluster is not None else ()))

    def _serving_children(self, name: str) -> Iterable[str]:
        branch = self._branches.get(name)
        return branch.cluster.children if branch is not None else ()

    def _subscribe(self, clusters: dict[str, None]) -> tuple[SubscriptionChanged, ...]:
        listeners = self._known_listeners()
        known: list[Cluster] = [branch.cluster for branch in self._branches.values()]
        known += self._resources(CLUSTER, clusters)
        wanted = {
            LISTENER: self._watched,
            ROUTE: dict.fromkeys(n for x in listeners if (n := x.route_config_name)),
            CLUSTER: clusters,
            ENDPOINT: dict.fromkeys(n for x in known if (n := x.load_assignment_name)),
            EXTENSION: {name: None for x in listeners for name in x.discoveries},
            RUNTIME: self._layers,
            SECRET: wanted_secrets(self._keeper, known, listeners),
        }
        changes = []
        for type_url, names in wanted.items():
            before = self._subscribed.get(type_url, {})
            new = tuple(name for name in names if name not in before)
            gone = tuple(name for name in before if name not in names)
            if new or gone:
                changes.append(SubscriptionChanged(type_url, new, gone))
                self._subscribed[type_url] = dict(names)
        return tuple(changes)

    def _known_listeners(self) -> list[Listener]:
        """Those that serve, and those that are to."""
        serving = [tree.listener for tree in self._trees.values()]
        return serving + self._resources(LISTENER, self._watched)

    def _resources(self, type_url: str, names: Iterable[str]) -> list[Any]:
        found = (self._entry(type_url, name).resource for name in names)
        return [resource for resource in found if resource is not None]

    def _snapshot(self, version: str) -> Snapshot:
        roots = (*self._clusters_of(self._trees.values()), *self._held)
        in_use = _with_children(roots, self._serving_children)
        branches = {name: b for name in in_use if (b := self._branches.get(name)) is not None}
        return Snapshot(
            listeners={name: tree.listener for name, tree in self._trees.items()},
            routes={
                route: tree.table
                for tree in self._trees.values()
                if (route := tree.listener.route_config_name) is not None
            },
            clusters={name: branch.cluster for name, branch in branches.items()},
            endpoints={
                service: branch.assignment
                for branch in branches.values()
                if branch.assignment is not None
                and (service := branch.cluster.load_assignment_name) is not None
            },
            runtimes={each.name: each for each in self._resources(RUNTIME, self._layers)},
            extensions={x.name: x for tree in self._trees.values() for x in tree.extensions},
            version=version,
        )


def _with_children(
    roots: Iterable[str], children_of: Callable[[str], Iterable[str]]
) -> dict[str, None]:
    """The clusters and what they are made of, each once, level by level."""
    found: dict[str, None] = {}
    level = list(roots)
    for _ in range(MAX_AGGREGATION + 1):
        fresh = [name for name in dict.fromkeys(level) if name not in found]
        found.update(dict.fromkeys(fresh))
        level = [child for name in fresh for child in children_of(name)]
    return found
