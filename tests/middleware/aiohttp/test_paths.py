"""Paths that are tidied before anything looks at them."""

import pytest
from yarl import URL

from meshlib.model import (
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    HttpConnectionManager,
    Listener,
    LocalityLbEndpoints,
    PathPrefix,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    gather,
)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [("/a//b", "/a/b"), ("/a/./b?q=//", "/a/b?q=//"), ("/x/../a/b", "/a/b"), ("/a/b", "/a/b")],
)
async def test_a_tidied_path_is_routed_and_sent(mesh, servers, session, url, asked, sent):
    seen = []
    address = await servers.named("a", seen)
    route = Route(
        match=RouteMatch(path=PathPrefix("/a/b")),
        action=RouteAction(cluster="reviews", timeout=0.0),
    )
    host = VirtualHost(name="reviews", domains=("*",), routes=(route,))
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="reviews", virtual_hosts=(host,)),
        normalize_path=True,
        merge_slashes=True,
    )
    group = LocalityLbEndpoints(lb_endpoints=(Endpoint(address=address),))
    mesh.engine.apply(
        gather(
            listeners=[Listener(name="reviews:9080", http=http)],
            clusters=[Cluster(name="reviews")],
            endpoints=[ClusterLoadAssignment(cluster_name="reviews", endpoints=(group,))],
        )
    )
    async with session.get(URL(f"{url}{asked}", encoded=True), headers={"x-kept": "1"}) as answer:
        assert await answer.text() == "a"
    assert (seen[0].raw_path, seen[0].headers["x-kept"]) == (sent, "1")
