"""grpc-js and grpc-java refuse a table for a route that answers itself; other gRPC fails its calls.

Calls that take such a route fail the same way on a cluster without endpoints.
"""

from dataclasses import replace

from ...model import (
    Cluster,
    ClusterLoadAssignment,
    Eds,
    Route,
    RouteAction,
    RouteConfiguration,
    Snapshot,
)
from ..compile.names import BLACK_HOLE

NOWHERE = RouteAction(cluster=BLACK_HOLE)


def with_routes_that_lead(snapshot: Snapshot) -> Snapshot:
    routes = {name: _table(table) for name, table in snapshot.routes.items()}
    if routes == snapshot.routes:
        return snapshot
    nowhere = Cluster(name=BLACK_HOLE, discovery=Eds())
    nobody = ClusterLoadAssignment(cluster_name=BLACK_HOLE)
    return replace(
        snapshot,
        routes=routes,
        clusters={BLACK_HOLE: nowhere, **snapshot.clusters},
        endpoints={BLACK_HOLE: nobody, **snapshot.endpoints},
    )


def _table(table: RouteConfiguration) -> RouteConfiguration:
    hosts = tuple(
        replace(host, routes=tuple(map(_leading, host.routes))) for host in table.virtual_hosts
    )
    return replace(table, virtual_hosts=hosts)


def _leading(route: Route) -> Route:
    return route if isinstance(route.action, RouteAction) else replace(route, action=NOWHERE)
