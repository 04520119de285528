"""grpc-js never ends a call that a fault aborts where the route has retries."""

from dataclasses import replace

from ...model import (
    Fault,
    Overrides,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    Snapshot,
    VirtualHost,
    WeightedClusters,
)
from .downgrade import Downgrade, Report

NEVER = RetryPolicy(retry_on=())


def with_faults_that_end(snapshot: Snapshot, report: Report) -> Snapshot:
    routes = {name: _table(table, report) for name, table in snapshot.routes.items()}
    return replace(snapshot, routes=routes)


def _table(table: RouteConfiguration, report: Report) -> RouteConfiguration:
    hosts = tuple(
        replace(
            host, routes=tuple(_route(route, host, table.name, report) for route in host.routes)
        )
        for host in table.virtual_hosts
    )
    return replace(table, virtual_hosts=hosts)


def _route(route: Route, host: VirtualHost, table: str, report: Report) -> Route:
    action = route.action
    if not isinstance(action, RouteAction):
        return route
    listed = [host.overrides, route.overrides]
    if isinstance(action.cluster, WeightedClusters):
        listed += [choice.overrides for choice in action.cluster.clusters]
    retries = action.retry_policy or host.retry_policy
    if retries in (None, NEVER) or not any(map(_aborts, listed)):
        return route
    where = f"routes/{table}: virtual_hosts[{host.name}]"
    report(Downgrade(where, "no retries beside a fault's abort for grpc-js, whose call would hang"))
    return replace(route, action=replace(action, retry_policy=NEVER))


def _aborts(overrides: Overrides) -> bool:
    configs = (override.config for override in overrides)
    return any(isinstance(one, Fault) and one.abort is not None for one in configs)
