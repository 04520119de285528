"""The smallest mesh: one service, one route, some endpoints."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..clock import Dice
from ..dataplane import Options
from ..model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    HttpConnectionManager,
    Listener,
    LocalityLbEndpoints,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    Snapshot,
    Static,
    VirtualHost,
    gather,
)
from ._replies import Script
from ._virtual import VirtualMesh

REVIEWS = "reviews:9080"
A, B, C = "10.0.0.1:9080", "10.0.0.2:9080", "10.0.0.3:9080"


def a_mesh(
    upstreams: Mapping[str, Script],
    *,
    retries: int = 0,
    retry_on: str = "5xx",
    timeout: float | None = None,
    dice: Dice | None = None,
    **cluster: Any,
) -> VirtualMesh:
    """A member of a mesh that knows ``reviews:9080`` with these upstreams."""
    retry = RetryPolicy(retry_on=tuple(retry_on.split(",")), num_retries=retries)
    action = RouteAction(
        cluster="reviews", timeout=timeout, retry_policy=retry if retries else None
    )
    snapshot = one_service(upstreams, action=action, **cluster)
    return VirtualMesh(snapshot, upstreams, dice=dice, options=Options(complete=True))


def one_service(
    endpoints: Iterable[str | Endpoint] = (A,),
    *,
    action: RouteAction | None = None,
    routes: tuple[Route, ...] = (),
    target: str = REVIEWS,
    domains: tuple[str, ...] = ("*",),
    version: str = "",
    **cluster: Any,
) -> Snapshot:
    """``target`` served by the cluster ``reviews``; ``cluster`` gives fields of that."""
    routes = routes or (Route(name="all", action=action or RouteAction(cluster="reviews")),)
    host = VirtualHost(name="host", domains=domains, routes=routes)
    table = RouteConfiguration(name=target, virtual_hosts=(host,))
    listener = Listener(name=target, http=HttpConnectionManager(routes=table))
    cluster.setdefault("discovery", Static(assignment(endpoints)))
    made = Cluster(**{"name": "reviews", **cluster})
    return gather(listeners=[listener], clusters=[made], version=version)


def assignment(
    *priorities: Iterable[str | Endpoint], name: str = "reviews"
) -> ClusterLoadAssignment:
    """Endpoints, priority by priority."""
    return ClusterLoadAssignment(
        cluster_name=name,
        endpoints=tuple(
            LocalityLbEndpoints(lb_endpoints=tuple(map(endpoint, members)), priority=priority)
            for priority, members in enumerate(priorities)
        ),
    )


def endpoint(address: str | Endpoint, **fields: Any) -> Endpoint:
    if isinstance(address, Endpoint):
        return address
    host, _, port = address.rpartition(":")
    return Endpoint(address=Address(host, int(port)), **fields)
