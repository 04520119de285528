"""A call that is under way keeps its cluster, whatever the routes have come to say."""

import threading

import pytest

import meshlib
from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Eds,
    Endpoint,
    HttpConnectionManager,
    Listener,
    LocalityLbEndpoints,
    Rds,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    gather,
)
from meshlib.testing.ads_server import AdsServer
from meshlib.testing.grpc_servers import serving

HOST = "reviews:9080"
MANY = 30.0


@pytest.fixture
def ends():
    return threading.Event()


@pytest.fixture
def begun():
    return threading.Event()


@pytest.fixture
def port(begun, ends):
    """Of a server that answers when it is told to."""

    def answer(request, _call):
        begun.set()
        assert ends.wait(MANY)
        return request

    with serving("/t.T/E", answer) as port:
        yield port
        ends.set()


def world(port, leads_to):
    routes = (Route(action=RouteAction(cluster=leads_to)),)
    hosts = (VirtualHost(name="all", domains=("*",), routes=routes),)
    places = (Endpoint(address=Address("127.0.0.1", port)),)
    return gather(
        listeners=[Listener(name=HOST, http=HttpConnectionManager(routes=Rds("r")))],
        routes=[RouteConfiguration(name="r", virtual_hosts=hosts)],
        clusters=[Cluster(name=name, discovery=Eds()) for name in "xy"],
        endpoints=[
            ClusterLoadAssignment(
                cluster_name=name, endpoints=(LocalityLbEndpoints(lb_endpoints=places),)
            )
            for name in "xy"
        ],
    )


def test_o4_a_cluster_is_unsubscribed_after_the_last_call_to_it(port, begun, ends) -> None:
    server = AdsServer(snapshot=world(port, "x"))
    try:
        with (
            meshlib.Mesh("m", control_plane=f"127.0.0.1:{server.port}") as mesh,
            mesh.grpc.channel(HOST) as channel,
        ):

            def clusters():
                return set(mesh._engine.snapshot.clusters)

            def until(holds):
                assert mesh._runtime.wait_for(holds, MANY)

            under_way = channel.unary_unary("/t.T/E").future(b"hello", timeout=MANY)
            assert begun.wait(MANY)
            server.serve(world(port, "y"), "2")
            until(lambda: mesh.route("POST", f"grpc://{HOST}/t.T/E").cluster == "y")
            server.serve(world(port, "x"), "3")
            until(lambda: mesh.route("POST", f"grpc://{HOST}/t.T/E").cluster == "x")
            server.serve(world(port, "y"), "4")
            until(lambda: mesh.route("POST", f"grpc://{HOST}/t.T/E").cluster == "y")
            assert clusters() == {"x", "y"}
            ends.set()
            assert under_way.result() == b"hello"
            until(lambda: clusters() == {"y"})
    finally:
        server.stop()
