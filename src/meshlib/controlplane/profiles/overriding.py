"""Everything in a route table that replaces the configuration of a filter."""

from collections.abc import Callable
from dataclasses import replace

from ...model import (
    ClusterWeight,
    Overrides,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    WeightedClusters,
)

Change = Callable[[Overrides], Overrides]


def with_overrides(table: RouteConfiguration, change: Change) -> RouteConfiguration:
    """The table with the overrides of each of its levels changed; itself where none are."""
    hosts = tuple(_host(host, change) for host in table.virtual_hosts)
    overrides = change(table.overrides)
    if hosts == table.virtual_hosts and overrides == table.overrides:
        return table
    return replace(table, virtual_hosts=hosts, overrides=overrides)


def _host(host: VirtualHost, change: Change) -> VirtualHost:
    routes = tuple(_route(route, change) for route in host.routes)
    return replace(host, routes=routes, overrides=change(host.overrides))


def _route(route: Route, change: Change) -> Route:
    action = route.action
    if isinstance(action, RouteAction) and isinstance(action.cluster, WeightedClusters):
        weights = tuple(_weight(choice, change) for choice in action.cluster.clusters)
        action = replace(action, cluster=replace(action.cluster, clusters=weights))
    return replace(route, action=action, overrides=change(route.overrides))


def _weight(choice: ClusterWeight, change: Change) -> ClusterWeight:
    return replace(choice, overrides=change(choice.overrides))
