import pytest

from meshlib.xds.bootstrap import Node
from meshlib.xds.encodings import SendDelta, SendRequest
from meshlib.xds.messages import GarbageError, decode_response, encode_request
from meshlib.xds.protos import message_class
from meshlib.xds.responses import RawResource, ResourceError
from meshlib.xds.transport import KEEPALIVE, OPTIONS, pings
from meshlib.xds.types import LISTENER

DISCOVERY = "envoy.service.discovery.v3"


def sent(request: SendRequest, node: Node | None = None):
    encoded = encode_request(request, node or Node())
    return message_class(f"{DISCOVERY}.DiscoveryRequest").FromString(encoded)


def test_a_delta_request_says_what_changed() -> None:
    request = SendDelta(LISTENER, ("a",), ("b",), {"a": "7"}, nonce="n", error="odd", first=True)
    encoded = encode_request(request, Node(id="me"))
    told = message_class(f"{DISCOVERY}.DeltaDiscoveryRequest").FromString(encoded)
    assert (list(told.resource_names_subscribe), list(told.resource_names_unsubscribe)) == (
        ["a"],
        ["b"],
    )
    assert dict(told.initial_resource_versions) == {"a": "7"}
    assert (told.type_url, told.response_nonce, told.node.id) == (LISTENER, "n", "me")
    assert (told.error_detail.code, told.error_detail.message) == (3, "odd")


def test_a_delta_response_is_taken_apart() -> None:
    made = message_class(f"{DISCOVERY}.DeltaDiscoveryResponse")(
        type_url=LISTENER, system_version_info="7", nonce="n", removed_resources=["gone"]
    )
    made.removed_resource_names.add(name="gone too")
    made.resources.add(name="a", version="3").resource.CopyFrom(
        message_class("google.protobuf.Any")(type_url=LISTENER, value=b"x")
    )
    made.resources.add(name="b", version="4").ttl.FromSeconds(5)
    made.resource_errors.add().resource_name.name = "odd"
    response = decode_response(made.SerializeToString(), delta=True)
    assert (response.type_url, response.version, response.nonce) == (LISTENER, "7", "n")
    assert response.resources == (
        RawResource(LISTENER, b"x", name="a", version="3"),
        RawResource("", None, name="b", ttl=5.0, version="4"),
    )
    assert response.removed == ("gone", "gone too")
    assert response.errors == (ResourceError("odd", 0),)


def a_response(**fields):
    return message_class(f"{DISCOVERY}.DiscoveryResponse")(type_url=LISTENER, **fields)


def test_a_request_says_what_the_state_machine_said() -> None:
    request = sent(SendRequest(LISTENER, ("a", "b"), version="3", nonce="n", error="odd"))
    assert list(request.resource_names) == ["a", "b"]
    assert (request.type_url, request.version_info, request.response_nonce) == (LISTENER, "3", "n")
    assert (request.error_detail.code, request.error_detail.message) == (3, "odd")


def test_an_ack_carries_no_error_and_no_node() -> None:
    request = sent(SendRequest(LISTENER, ("a",), version="3", nonce="n"), Node(id="me"))
    assert not request.HasField("error_detail")
    assert not request.HasField("node")


def test_the_node_tells_who_we_are() -> None:
    node = Node(id="me", cluster="c", metadata={"LABELS": {"app": "x"}}, locality={"zone": "z"})
    told = sent(SendRequest(LISTENER, ("a",), first=True), node).node
    assert (told.id, told.cluster, told.locality.zone) == ("me", "c", "z")
    assert told.metadata["LABELS"]["app"] == "x"
    assert told.user_agent_name == "meshlib"
    assert "xds.config.resource-in-sotw" in told.client_features


def test_a_response_is_taken_apart() -> None:
    made = a_response(version_info="7", nonce="n")
    made.resources.add(type_url=LISTENER, value=b"x")
    error = made.resource_errors.add()
    error.resource_name.name = "gone"
    error.error_detail.code = 5
    error.error_detail.message = "no"
    response = decode_response(made.SerializeToString())
    assert (response.type_url, response.version, response.nonce) == (LISTENER, "7", "n")
    assert response.resources == (RawResource(LISTENER, b"x"),)
    assert response.errors == (ResourceError("gone", 5, "no"),)


def packed(**fields):
    outer = message_class(f"{DISCOVERY}.Resource")(**fields)
    made = a_response()
    made.resources.add().Pack(outer)
    [resource] = decode_response(made.SerializeToString()).resources
    return resource


def test_s12_a_resource_message_is_unpacked() -> None:
    inner = message_class("google.protobuf.Any")(type_url=LISTENER, value=b"x")
    assert packed(name="a", resource=inner) == RawResource(LISTENER, b"x", name="a")


def test_s12_a_resource_message_without_body_is_a_heartbeat() -> None:
    ttl = message_class("google.protobuf.Duration")(seconds=5, nanos=500_000_000)
    assert packed(name="a", ttl=ttl) == RawResource("", None, name="a", ttl=5.5)


def test_a_resource_message_that_is_garbage_is_left_packed_and_so_refused_by_its_type() -> None:
    made = a_response()
    made.resources.add(type_url=f"type.googleapis.com/{DISCOVERY}.Resource", value=b"\xff\xff")
    [resource] = decode_response(made.SerializeToString()).resources
    assert resource.type_url == f"type.googleapis.com/{DISCOVERY}.Resource"


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x0a\xff", b"<html>no</html>"])
def test_garbage_is_known_as_such(garbage: bytes) -> None:
    with pytest.raises(GarbageError, match="sent garbage"):
        decode_response(garbage)


def test_c6_a_silent_connection_is_pinged_so_that_a_dead_one_is_found_within_40_seconds() -> None:
    options = dict((*OPTIONS, *pings(KEEPALIVE)))
    assert options["grpc.keepalive_time_ms"] + options["grpc.keepalive_timeout_ms"] == 40_000
    assert options["grpc.http2.max_pings_without_data"] == 0
