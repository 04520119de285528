"""Everything one member of the mesh knows, as one value."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from ..errors import ConfigError, Problem
from .authn import ExtAuthz, GrpcAuthorization, HttpAuthorization
from .cluster import Cluster
from .endpoint import ClusterLoadAssignment
from .filter import ExtensionConfig, FilterConfig, FilterDiscovery, GlobalRateLimit
from .listener import Listener, discovered
from .route import (
    ClusterHeader,
    ClusterWeight,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    WeightedClusters,
)
from .runtime import RuntimeLayer

T = TypeVar("T")
ROOMS = ("listeners", "routes", "clusters", "endpoints", "runtimes", "extensions")
_Place = RouteConfiguration | VirtualHost | Route | ClusterWeight


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Listeners, routes, clusters and endpoints that belong together (gRFC A74).

    ``runtimes`` stand in for values of the rest, the later ones before the earlier ones;
    ``extensions`` are what filters of listeners discover.
    Compared and hashed by value; ``version`` is a label and takes no part in it.
    """

    listeners: Mapping[str, Listener] = field(default_factory=dict)
    routes: Mapping[str, RouteConfiguration] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    endpoints: Mapping[str, ClusterLoadAssignment] = field(default_factory=dict)
    runtimes: Mapping[str, RuntimeLayer] = field(default_factory=dict)
    extensions: Mapping[str, ExtensionConfig] = field(default_factory=dict)
    version: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ROOMS:
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __hash__(self) -> int:
        return hash(tuple(frozenset(getattr(self, name).items()) for name in ROOMS))

    def problems(self) -> Iterator[Problem]:
        """References that lead nowhere, each with the path of the field that holds it."""
        for listener in self.listeners.values():
            yield from self._problems_of_filters(listener)
            wanted = listener.route_config_name
            if wanted is not None and wanted not in self.routes:
                yield Problem(
                    f"listeners/{listener.name}: rds", f"no route configuration {wanted!r}"
                )
        for table in self.all_routes():
            for where, cluster in referenced_clusters(table):
                if cluster not in self.clusters:
                    yield Problem(f"routes/{table.name}: {where}", f"no cluster {cluster!r}")
        for cluster_config in self.clusters.values():
            for child in cluster_config.children:
                if child not in self.clusters:
                    where = f"clusters/{cluster_config.name}: aggregate"
                    yield Problem(where, f"no cluster {child!r}")
            service = cluster_config.load_assignment_name
            if service is not None and service not in self.endpoints:
                yield Problem(f"clusters/{cluster_config.name}: eds", f"no endpoints {service!r}")

    def _problems_of_filters(self, listener: Listener) -> Iterator[Problem]:
        where, listener = f"listeners/{listener.name}", discovered(listener, self.extensions)
        for name in listener.discoveries:
            path = f"http_filters[{name}].config_discovery"
            yield Problem(f"{where}: {path}", f"no extension config {name!r} of its types")
        for path, cluster in clusters_of_filters(listener):
            if cluster not in self.clusters:
                yield Problem(f"{where}: {path}", f"no cluster {cluster!r}")

    @property
    def runtime(self) -> dict[str, float]:
        """What all layers together say of fractions, of 1."""
        return {k: share for each in self.runtimes.values() for k, share in each.shares().items()}

    def check(self) -> None:
        """Raise :class:`ConfigError` with every dangling reference."""
        problems = tuple(self.problems())
        if problems:
            raise ConfigError(*problems)

    def all_routes(self) -> Iterator[RouteConfiguration]:
        """The tables by name, then those that stand inside a listener."""
        yield from self.routes.values()
        for listener in self.listeners.values():
            if isinstance(listener.http.routes, RouteConfiguration):
                yield listener.http.routes


def gather(
    *,
    listeners: Iterable[Listener] = (),
    routes: Iterable[RouteConfiguration] = (),
    clusters: Iterable[Cluster] = (),
    endpoints: Iterable[ClusterLoadAssignment] = (),
    runtimes: Iterable[RuntimeLayer] = (),
    extensions: Iterable[ExtensionConfig] = (),
    version: str = "",
) -> Snapshot:
    """Make a :class:`Snapshot` of loose resources.

    Raises :class:`ConfigError` where one name stands for two different resources.
    """
    problems: list[Problem] = []

    def by_name(kind: str, resources: Iterable[T], name_of: Callable[[T], str]) -> dict[str, T]:
        named: dict[str, T] = {}
        for resource in resources:
            name = name_of(resource)
            if named.setdefault(name, resource) != resource:
                problems.append(Problem(f"{kind}/{name}", "two different resources of one name"))
        return named

    made = Snapshot(
        listeners=by_name("listeners", listeners, lambda r: r.name),
        routes=by_name("routes", routes, lambda r: r.name),
        clusters=by_name("clusters", clusters, lambda r: r.name),
        endpoints=by_name("endpoints", endpoints, lambda r: r.cluster_name),
        runtimes=by_name("runtimes", runtimes, lambda r: r.name),
        extensions=by_name("extensions", extensions, lambda r: r.name),
        version=version,
    )
    if problems:
        raise ConfigError(*problems)
    return made


def referenced_clusters(table: RouteConfiguration) -> Iterator[tuple[str, str]]:
    """Each cluster that the table sends to, with the path of the field that names it."""
    yield from _mirrors(table, "")
    yield from _asked(table, "")
    for host in table.virtual_hosts:
        inside = f"virtual_hosts[{host.name}]"
        yield from _mirrors(host, f"{inside}.")
        yield from _asked(host, f"{inside}.")
        for index, route in enumerate(host.routes):
            where = f"{inside}.routes[{index}]"
            yield from _asked(route, f"{where}.")
            if isinstance(route.action, RouteAction):
                yield from _destinations(route.action, f"{where}.route")
                yield from _mirrors(route.action, f"{where}.route.")


def clusters_of_filters(listener: Listener) -> Iterator[tuple[str, str]]:
    """Each cluster that a filter of the listener itself asks, with the path of the field."""
    for http_filter in listener.http.http_filters:
        for name in asked_by(http_filter.config):
            yield f"http_filters[{http_filter.name}]", name


def _destinations(action: RouteAction, where: str) -> Iterator[tuple[str, str]]:
    match action.cluster:
        case WeightedClusters(clusters=choices):
            for choice in choices:
                yield f"{where}.weighted_clusters", choice.name
                yield from _asked(choice, f"{where}.weighted_clusters.")
        case ClusterHeader():
            return
        case str() as name:
            yield f"{where}.cluster", name


def _mirrors(
    place: RouteConfiguration | VirtualHost | RouteAction, where: str
) -> Iterator[tuple[str, str]]:
    for policy in place.request_mirror_policies:
        yield f"{where}request_mirror_policies", policy.cluster


def _asked(place: _Place, where: str) -> Iterator[tuple[str, str]]:
    for override in place.overrides:
        for name in asked_by(override.config):
            yield f"{where}typed_per_filter_config[{override.name}]", name


def asked_by(config: FilterConfig | FilterDiscovery | None) -> tuple[str, ...]:
    """The clusters that a filter of this configuration asks."""
    # Without a cluster (of a route), the one that the listener's filter names is asked.
    match config:
        case GlobalRateLimit(cluster=name) if name:
            return (name,)
        case ExtAuthz(service=GrpcAuthorization(cluster=name) | HttpAuthorization(cluster=name)):
            return (name,)
        case _:
            return ()
