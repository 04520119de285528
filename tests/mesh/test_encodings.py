"""A mesh asks for what changed, and a control plane that cannot say it for everything."""

import logging

import pytest

import meshlib
from meshlib.model import (
    Cluster,
    ClusterLoadAssignment,
    Eds,
    HttpConnectionManager,
    Listener,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    gather,
)
from meshlib.testing.ads_server import AdsServer

MANY = 30.0
HOST = "reviews:9080"


def world():
    routes = (Route(action=RouteAction(cluster="x")),)
    hosts = (VirtualHost(name="all", domains=("*",), routes=routes),)
    table = RouteConfiguration(name="r", virtual_hosts=hosts)
    listener = Listener(name=HOST, http=HttpConnectionManager(routes=table))
    cluster = Cluster(name="x", discovery=Eds())
    nobody = ClusterLoadAssignment(cluster_name="x")
    return gather(listeners=[listener], clusters=[cluster], endpoints=[nobody])


@pytest.fixture
def servers():
    running = []

    def run(*encodings):
        running.append(AdsServer(encodings=encodings, snapshot=world()))
        return running[-1]

    yield run
    for server in running:
        server.stop()


def encoding_of(mesh):
    (server,) = mesh.status()["source"]["servers"]
    return server["encoding"]


def test_a_control_plane_is_asked_in_delta_unless_told_otherwise(servers) -> None:
    server = servers("sotw", "delta")
    with meshlib.Mesh("m", control_plane=f"127.0.0.1:{server.port}") as mesh:
        assert mesh.ready(HOST, timeout=MANY)
        assert encoding_of(mesh) == "delta"


def test_one_that_knows_no_delta_is_asked_for_everything_at_once_and_without_complaint(
    servers, caplog
) -> None:
    server = servers("sotw")
    with (
        caplog.at_level(logging.INFO, "meshlib"),
        meshlib.Mesh("m", control_plane=f"127.0.0.1:{server.port}") as mesh,
    ):
        assert mesh.ready(HOST, timeout=MANY)
        server.end_streams()
        assert mesh.ready("nobody:80", timeout=MANY)
        assert encoding_of(mesh) == "sotw"
    said = [each for each in caplog.records if "speaks no delta" in each.message]
    assert [each.levelname for each in said] == ["INFO"]
    assert [each.message for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(("features", "encoding"), [([], "sotw"), (["delta"], "delta")])
def test_a_bootstrap_says_of_each_server_what_it_speaks(servers, features, encoding) -> None:
    server = servers("sotw", "delta")
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": f"127.0.0.1:{server.port}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": features,
            }
        ],
        "node": {"id": "m"},
    }
    with meshlib.Mesh("m", bootstrap=bootstrap) as mesh:
        assert mesh.ready(HOST, timeout=MANY)
        assert encoding_of(mesh) == encoding
