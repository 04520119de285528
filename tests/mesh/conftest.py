"""A control plane that is a CA too, and what it says of one service."""

import pytest

from meshlib import Mesh
from meshlib.controlplane import ControlPlane

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "reviews"},
    "spec": {"selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 9080}]},
}


def asked(mode):
    if mode is None:
        return [SERVICE]
    peers = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "istio-system"},
        "spec": {"mtls": {"mode": mode}},
    }
    return [SERVICE, peers]


@pytest.fixture
def asking():
    """``asking("STRICT")``: reviews, and what all are asked of their peers; ``None``: nothing."""
    return asked


@pytest.fixture
async def plane(request, tmp_path):
    """It asks for mutual TLS, or for what the test says."""
    made = ControlPlane(
        asked(getattr(request, "param", "STRICT")),
        listen="127.0.0.1:0",
        ca=tmp_path / "ca",
        ca_socket=tmp_path / "ca.sock",
    )
    async with made:
        yield made


@pytest.fixture
def member(plane, tmp_path, monkeypatch):
    """``member("reviews")``: a mesh that this machine's CA gives a certificate."""

    def make(service, **given):
        monkeypatch.setenv("MESHLIB_CA", f"unix:{tmp_path}/ca.sock")
        return Mesh(service, control_plane=plane.address, **given)

    return make
