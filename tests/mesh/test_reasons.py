"""What callers hear when the control plane has not what a call needs (gRFC A54, A88)."""

import grpc
import pytest

import meshlib
from meshlib.identity.authority import Authority
from meshlib.identity.spiffe import TrustDomain
from meshlib.identity.store import MemoryStore
from meshlib.model import (
    Cluster,
    Eds,
    HttpConnectionManager,
    Listener,
    Rds,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    gather,
)
from meshlib.testing.ads_server import AdsServer

MANY = 30.0


def listener(name, routes):
    return Listener(name=name, http=HttpConnectionManager(routes=routes))


def leading_to(cluster):
    routes = (Route(action=RouteAction(cluster=cluster)),)
    hosts = (VirtualHost(name="all", domains=("*",), routes=routes),)
    return RouteConfiguration(name="inside", virtual_hosts=hosts)


@pytest.fixture
def server():
    made = AdsServer(
        snapshot=gather(
            listeners=[
                listener("routes:80", Rds("no-such-routes")),
                listener("cluster:80", leading_to("no-such-cluster")),
                listener("endpoints:80", leading_to("known")),
            ],
            clusters=[Cluster(name="known", discovery=Eds("no-such-endpoints"))],
        )
    )
    yield made
    made.stop()


@pytest.fixture(params=["sotw", "delta"])
def mesh(request, server):
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": f"127.0.0.1:{server.port}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["delta"] if request.param == "delta" else [],
            }
        ],
        "node": {"id": "this-very-node"},
    }
    with meshlib.Mesh("m", bootstrap=bootstrap, outbound_traffic_policy="REGISTRY_ONLY") as made:
        yield made


def failed(mesh, target):
    with mesh.grpc.channel(target) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/t.T/E")(b"", timeout=MANY)
    return refused.value


@pytest.mark.parametrize("missing", ["routes", "cluster", "endpoints"])
def test_n8_what_is_not_there_is_unavailable_and_named_with_the_node(mesh, missing) -> None:
    error = failed(mesh, f"{missing}:80")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert f"no-such-{missing}: the control plane reports code 5" in error.details()
    assert "(node this-very-node)" in error.details()


def test_n8_a_host_that_does_not_exist_is_no_not_found(mesh) -> None:
    assert failed(mesh, "nobody:80").code() is grpc.StatusCode.UNAVAILABLE


def test_n8_without_a_control_plane_the_failure_names_server_and_node() -> None:
    bootstrap = {
        "xds_servers": [
            {"server_uri": "127.0.0.1:1", "channel_creds": [{"type": "insecure"}]},
        ],
        "node": {"id": "this-very-node"},
    }
    with meshlib.Mesh("m", bootstrap=bootstrap, on_no_config="fail") as mesh:
        error = failed(mesh, "reviews:80")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "control plane 127.0.0.1:1 is not connected: " in error.details()
    assert "(node this-very-node)" in error.details()


def test_without_a_certificate_the_failure_says_why_there_is_none(tmp_path, monkeypatch) -> None:
    root = Authority.create(MemoryStore(), TrustDomain("cluster.local"), 0.0).bundle().pem
    (tmp_path / "root.pem").write_bytes(root)
    monkeypatch.setenv("MESHLIB_CA_ROOT", str(tmp_path / "root.pem"))
    monkeypatch.setenv("MESHLIB_CA_TOKEN", "token")
    with meshlib.Mesh("m", control_plane="127.0.0.1:1") as mesh:
        while not mesh.status()["identity"]["error"]:
            mesh.ready("reviews:80", timeout=0.05)
        with mesh.grpc.channel("reviews:80") as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/t.T/E")(b"", timeout=0.2)
    assert "this member has no certificate: " in refused.value.details()
