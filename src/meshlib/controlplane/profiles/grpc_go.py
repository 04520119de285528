"""grpc-go fails calls to a cluster that it did not know before, so it is told of all in time.

It puts new routes in force before its balancer has the clusters that they lead to, and answers
UNAVAILABLE in between. What the routes name and no call takes, it knows all the same.
"""

from collections import defaultdict
from dataclasses import replace

from ...model import (
    ClusterWeight,
    HeaderMatcher,
    PathPrefix,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    Snapshot,
    WeightedClusters,
    referenced_clusters,
)

HEADER = "meshlib-never"
NEVER = RouteMatch(
    path=PathPrefix("/"),
    headers=(HeaderMatcher(name=HEADER), HeaderMatcher(name=HEADER, invert_match=True)),
)


def with_clusters_to_come(snapshot: Snapshot) -> Snapshot:
    """The clusters of each service's subsets are named in its table, by a route never taken."""
    subsets: dict[str, list[str]] = defaultdict(list)
    for name in sorted(snapshot.clusters):
        subsets[_service(name)].append(name)
    tables = {
        name: _naming(table, subsets[_service(name)]) for name, table in snapshot.routes.items()
    }
    return replace(snapshot, routes=tables)


def _service(cluster: str) -> str:
    """``outbound|80|v1|host`` without its subset."""
    direction, _, rest = cluster.partition("|")
    port, _, host = rest.partition("|")
    return f"{direction}|{port}|{host.rpartition('|')[2]}"


def _naming(table: RouteConfiguration, clusters: list[str]) -> RouteConfiguration:
    named = {name for _, name in referenced_clusters(table)}
    new = [name for name in clusters if name not in named]
    if not new:
        return table
    choices = WeightedClusters(clusters=tuple(ClusterWeight(name=name, weight=1) for name in new))
    never = Route(match=NEVER, action=RouteAction(cluster=choices), name="to-come")
    hosts = tuple(replace(host, routes=(*host.routes, never)) for host in table.virtual_hosts)
    return replace(table, virtual_hosts=hosts)
