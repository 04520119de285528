"""What a snapshot says of one listener or cluster, wherever it is written."""

from collections.abc import Mapping

from ..errors import ConfigError, Problem
from ..model import (
    Cluster,
    ClusterLoadAssignment,
    HttpFilter,
    Listener,
    LogicalDns,
    RouteConfiguration,
    Snapshot,
    Static,
    StrictDns,
)
from ..model import Router as RouterConfig
from .outbound import LiveListener
from .upstream.dns import Addresses, resolved

TableKey = tuple[str, float | None, tuple[HttpFilter, ...]]
"""The name of a route table, and what the listeners that use it say of all their calls."""


def wildcards(listeners: Mapping[str, LiveListener]) -> tuple[tuple[str, LiveListener], ...]:
    """Listeners called ``*.example.org:80``, as what the names end with; the longest first."""
    found = [(name[1:], live) for name, live in listeners.items() if name.startswith("*.")]
    return tuple(sorted(found, key=lambda item: -len(item[0])))


def table_key(listener: Listener) -> TableKey:
    http = listener.http
    filters = tuple(f for f in http.http_filters if not isinstance(f.config, RouterConfig))
    name = listener.route_config_name or f"listener/{listener.name}"
    return name, http.max_stream_duration, filters


def routes_of(listener: Listener, snapshot: Snapshot) -> RouteConfiguration:
    """The route table of a listener, wherever it is written."""
    routes = listener.http.routes
    if isinstance(routes, RouteConfiguration):
        return routes
    name = routes.route_config_name
    if name not in snapshot.routes:
        where = f"listeners/{listener.name}: rds"
        raise ConfigError(Problem(where, f"no route configuration {name!r}"))
    return snapshot.routes[name]


def assignment_of(
    config: Cluster,
    endpoints: Mapping[str, ClusterLoadAssignment],
    addresses: Mapping[str, Addresses],
) -> ClusterLoadAssignment:
    """The endpoints of a cluster, wherever they are written; names as far as they are known."""
    match config.discovery:
        case StrictDns(load_assignment):
            return resolved(load_assignment, addresses.get(config.name, {}))
        case Static(load_assignment) | LogicalDns(load_assignment):
            return load_assignment
        case _:
            pass
    name = config.load_assignment_name
    empty = ClusterLoadAssignment(cluster_name=config.name)
    return endpoints.get(name, empty) if name is not None else empty
