"""What a mesh says of its control plane: ages, states, refusals, what is stale."""

import pytest

import meshlib
from meshlib.model import (
    Cluster,
    ClusterLoadAssignment,
    Eds,
    HttpConnectionManager,
    Listener,
    PathRegex,
    Rds,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    gather,
)
from meshlib.testing.ads_server import AdsServer
from meshlib.xds.types import LISTENER, ROUTE

HOST = "reviews:9080"
MANY = 30.0


def world(regex, factor=140):
    match = RouteMatch(path=PathRegex(regex))
    routes = (Route(match=match, action=RouteAction(cluster="x")),)
    hosts = (VirtualHost(name="all", domains=("*",), routes=routes),)
    return gather(
        listeners=[Listener(name=HOST, http=HttpConnectionManager(routes=Rds("r")))],
        routes=[RouteConfiguration(name="r", virtual_hosts=hosts)],
        clusters=[Cluster(name="x", discovery=Eds())],
        endpoints=[ClusterLoadAssignment(cluster_name="x", overprovisioning_factor=factor)],
    )


@pytest.fixture
def server():
    made = AdsServer(snapshot=world(".*"))
    yield made
    made.stop()


@pytest.fixture
def mesh(server):
    with meshlib.Mesh("m", control_plane=f"127.0.0.1:{server.port}") as made:
        assert made.ready(HOST, timeout=MANY)
        yield made


def test_a_refusal_is_told_with_its_reason_beside_what_is_in_force(mesh, server) -> None:
    server.serve(world("(", factor=150), "2")
    after = world("(", factor=150).endpoints
    assert mesh._runtime.wait_for(lambda: mesh._engine.snapshot.endpoints == after, MANY)
    source = mesh.status()["source"]
    routes = source["types"][ROUTE]
    assert "routes/r: virtual_hosts[all].routes[0].match" in routes["error"]
    (refused,) = routes["resources"].values()
    assert (refused["state"], refused["cached"]) == ("NACKED", True)
    assert (refused["version"], refused["rejected_version"]) == ("1", "2")
    assert refused["rejected_age"] >= 0
    assert refused["error"] in routes["error"]


def test_each_resource_has_a_state_a_version_and_an_age(mesh) -> None:
    source = mesh.status()["source"]
    assert (source["connected"], source["stale"], source["error"]) == (True, False, "")
    listener = source["types"][LISTENER]["resources"][HOST]
    assert (listener["state"], listener["version"]) == ("ACKED", "1")
    assert 0 <= source["last_good_age"] <= listener["age"]


def test_a_lost_control_plane_is_told_and_what_it_said_is_kept(mesh, server) -> None:
    server._call(server._server.stop(None))
    assert mesh._runtime.wait_for(lambda: mesh.status()["source"]["error"], MANY)
    source = mesh.status()["source"]
    assert source["connected"] is False
    assert source["types"][LISTENER]["resources"][HOST]["cached"] is True
