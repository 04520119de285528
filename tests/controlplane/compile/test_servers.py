"""The listeners that gRPC servers ask for by template."""

import pytest

from meshlib import model
from meshlib.controlplane import Scope
from meshlib.controlplane.compile.servers import served_address


@pytest.mark.parametrize(
    "name, address",
    [
        ("xds.istio.io/grpc/lds/inbound/10.0.0.1:80", "10.0.0.1:80"),
        ("inbound/0.0.0.0:50051", "0.0.0.0:50051"),
        ("inbound/[::]:50051", "[::]:50051"),
        ("grpc/server?xds.resource.listening_address=[::1]:7", "[::1]:7"),
        ("xdstp://a/envoy.config.listener.v3.Listener/x/inbound/%5B::%5D:80", "[::]:80"),
    ],
)
def test_a_name_made_by_template_says_where_a_server_listens(name, address):
    assert str(served_address(name)) == address


@pytest.mark.parametrize(
    "name",
    [
        *("inbound", "reviews:80", "inbound/reviews:80", "inbound/10.0.0.1", "inbound/10.0.0.1:x"),
        *("inbound/10.0.0.1:70000", "outbound/10.0.0.1:80", "inbound/10.0.0.1:²"),
    ],
)
def test_other_names_are_not_of_servers(name):
    assert served_address(name) is None


def test_a_server_serves_in_plain_text_whatever_it_is_asked(snapshot_of):
    names = ("xds.istio.io/grpc/lds/inbound/10.0.0.1:80", "reviews:80")
    listener = snapshot_of(scope=Scope(server_listeners=names)).listeners[names[0]]
    assert listener.address == model.Address("10.0.0.1", 80)
    (host,) = listener.http.routes.virtual_hosts
    assert host.domains == ("*",)
    assert isinstance(host.routes[0].action, model.NonForwardingAction)
    assert [one.config for one in listener.http.http_filters] == [model.ROUTER.config]
