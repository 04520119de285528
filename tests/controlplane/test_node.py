"""Who asks, as its node says."""

from meshlib.controlplane.messages import node_of
from meshlib.model import Locality
from meshlib.xds.protos import message_class


def test_a_nodes_place_is_where_its_calls_begin():
    message = message_class("envoy.config.core.v3.Node")(id="web")
    message.locality.region, message.locality.zone = "eu", "a"
    assert node_of(message).scope.locality == Locality("eu", "a")
