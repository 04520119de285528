"""Delta xDS: the same subscriptions, said as changes, with a version for each resource."""

import pytest

from meshlib.testing.ads import AdsPair, Bad, Named
from meshlib.xds.encodings import SendDelta, SendRequest
from meshlib.xds.responses import RawResource, ResourceError
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meshlib.xds.watches import NOT_FOUND, ResourceState


@pytest.fixture
def encoding() -> str:
    return "delta"


def state_of(pair: AdsPair, type_url: str, name: str) -> tuple[ResourceState, bool]:
    entry = pair.discovery.watches.get(type_url, name)
    return entry.state, entry.resource is not None


def test_s1_the_node_goes_with_the_first_request_of_each_stream_only(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    assert [request.first for request in pair.take()] == [False, False]
    pair.close()
    pair.connect()
    assert [request.first for request in pair.take()] == [True, False]


def test_a_subscription_says_only_what_is_new_and_what_is_gone(connected, world) -> None:
    pair = connected("a")
    pair.watch("b")
    assert pair.take() == [SendDelta(LISTENER, ("b",))]
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, world.table("ra", "x"))
    pair.take()
    pair.respond(ROUTE, world.table("ra", "y"), version="2")
    assert SendDelta(CLUSTER, ("y",), ("x",)) in pair.take()


def test_s3_an_ack_is_the_nonce_and_nothing_else(connected, world) -> None:
    pair = connected("a")
    nonce = pair.respond(LISTENER, world.listener("a"), version="3")
    assert pair.take()[0] == SendDelta(LISTENER, nonce=nonce)


def test_s3_a_nack_names_each_bad_resource_and_its_valid_siblings_are_used(
    connected, world
) -> None:
    pair = connected("a", "b", "c")
    nonce = pair.respond(LISTENER, Bad("a", "odd"), world.listener("b"), Bad("c", "odd too"))
    nack = pair.take()[0]
    assert nack == SendDelta(LISTENER, nonce=nonce, error="a: odd; c: odd too")
    assert state_of(pair, LISTENER, "a") == (ResourceState.NACKED, False)
    assert state_of(pair, LISTENER, "b") == (ResourceState.ACKED, True)
    assert pair.names(ROUTE) == ("rb",)


def test_s6_a_name_that_comes_twice_is_refused(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"), world.listener("a", prefix="other"))
    assert pair.take()[0].error == "a: sent 2 times in one response"


def test_s6_a_name_that_is_sent_and_removed_is_refused(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"), removed=["a"])
    assert pair.take()[0].error == "a: sent and removed in one response"


def test_s8_what_was_not_asked_for_is_acked_and_ignored(connected, world) -> None:
    pair = connected("a")
    nonce = pair.respond(LISTENER, world.listener("stranger"), removed=["other"])
    assert pair.take() == [SendDelta(LISTENER, nonce=nonce)]
    assert pair.discovery.watches.get(LISTENER, "stranger") is None


def test_s12_a_resource_of_a_wrong_type_is_refused(connected, world) -> None:
    pair = connected("a", "b")
    stray = pair.tokens.pack(CLUSTER, world.cluster("a")).value
    pair.respond(LISTENER, RawResource(CLUSTER, stray, name="a"), world.listener("b"))
    assert pair.take()[0].error.startswith("a: is a 'type.googleapis.com/envoy.config.cluster")
    assert state_of(pair, LISTENER, "b") == (ResourceState.ACKED, True)


def test_s13_a_heartbeat_prolongs_the_ttl_and_changes_nothing(connected, world) -> None:
    pair = connected("a")
    token = pair.tokens.pack(LISTENER, world.listener("a")).value
    pair.respond(LISTENER, RawResource(LISTENER, token, name="a", ttl=10, version="1"))
    pair.jump(9)
    pair.respond(LISTENER, RawResource("", None, name="a", ttl=10, version="1"))
    pair.jump(9)
    assert state_of(pair, LISTENER, "a") == (ResourceState.ACKED, True)
    pair.jump(1)
    assert state_of(pair, LISTENER, "a") == (ResourceState.DOES_NOT_EXIST, False)


def test_w2_a_new_stream_sends_nothing_for_a_type_without_names(world) -> None:
    pair = AdsPair(server_features=["fail_on_data_errors"], delta=True)
    pair.watch("a")
    pair.connect()
    pair.serve(world.chain("a", "x"))
    pair.respond(LISTENER, removed=["a"])
    assert pair.names(CLUSTER) == ()
    pair.close()
    pair.take()
    pair.connect()
    assert [request.type_url for request in pair.take()] == [LISTENER]


def test_w3_an_answer_for_a_name_that_was_dropped_meanwhile_is_only_acked(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "x"))
    pair.serve(world.chain("a", "y"), version="2")
    pair.take()
    nonce = pair.respond(CLUSTER, world.cluster("x"), version="3")
    assert pair.take() == [SendDelta(CLUSTER, nonce=nonce)]
    assert pair.discovery.watches.get(CLUSTER, "x") is None


def test_d1_a_new_stream_begins_with_all_names_and_the_versions_in_use(connected, world) -> None:
    pair = connected("a", "b")
    pair.respond(LISTENER, world.listener("a"), version="7")
    pair.take()
    pair.close()
    pair.connect()
    assert pair.take()[0] == SendDelta(LISTENER, ("a", "b"), versions={"a": "7"}, first=True)


def test_d2_what_is_said_between_responses_carries_no_nonce(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.take()
    pair.watch("b")
    assert pair.take() == [SendDelta(LISTENER, ("b",))]


def test_d3_removed_is_removed_and_the_unchanged_stay(connected, world) -> None:
    pair = connected("a", "b")
    pair.respond(LISTENER, world.listener("a"), world.listener("b"))
    pair.respond(LISTENER, version="2", removed=["a"])
    assert state_of(pair, LISTENER, "a") == (ResourceState.DOES_NOT_EXIST, True)
    assert state_of(pair, LISTENER, "b") == (ResourceState.ACKED, True)


@pytest.mark.parametrize("type_url", [LISTENER, ROUTE, CLUSTER, ENDPOINT])
def test_d3_any_type_can_be_removed_and_is_kept_in_use(connected, world, type_url) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "x"))
    name = {LISTENER: "a", ROUTE: "ra"}.get(type_url, "x")
    pair.respond(type_url, version="2", removed=[name])
    assert state_of(pair, type_url, name) == (ResourceState.DOES_NOT_EXIST, True)
    assert pair.snapshot == world.chain("a", "x")


def test_d3_a_host_that_the_server_does_not_have_is_absent_at_once(connected) -> None:
    pair = connected("a")
    pair.respond(LISTENER, removed=["a"])
    assert pair.absent == {"a"}
    assert pair.reports == []


def test_d3_the_timer_is_kept_for_a_server_that_says_nothing(connected) -> None:
    pair = connected("a")
    pair.respond(LISTENER)
    pair.jump(15)
    assert pair.absent == {"a"}


def test_d4_what_was_dropped_and_is_wanted_again_is_asked_for_again(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "x"))
    pair.serve(world.chain("a", "y"), version="2")
    pair.respond(ROUTE, world.table("ra", "x"), version="3")
    assert pair.names(CLUSTER) == ("y", "x")
    assert state_of(pair, CLUSTER, "x") == (ResourceState.REQUESTED, False)


def test_d5_the_versions_that_are_told_are_those_in_use_and_not_those_refused(
    connected, world
) -> None:
    pair = connected("a", "b")
    pair.respond(LISTENER, world.listener("a"), world.listener("b"), version="1")
    pair.respond(LISTENER, Bad("a"), world.listener("b", prefix="new"), version="2")
    pair.close()
    pair.take()
    pair.connect()
    assert pair.take()[0].versions == {"a": "1", "b": "2"}


def test_d5_what_the_server_disowned_is_to_be_sent_anew_if_it_comes_back(connected, world) -> None:
    pair = connected("a", "b")
    pair.respond(LISTENER, world.listener("a"), world.listener("b"))
    pair.respond(LISTENER, removed=["a"], version="2", errors=[ResourceError("b", NOT_FOUND, "no")])
    pair.close()
    pair.take()
    pair.connect()
    assert pair.take()[0].versions == {}


def test_a_server_that_speaks_no_delta_is_asked_in_the_other_encoding_at_once(
    connected, world
) -> None:
    pair = connected("a")
    pair.close("UNIMPLEMENTED: Method not found!", unimplemented=True)
    assert pair.opened == [0, 0]
    assert pair.discovery.watches.connection_error == ""
    pair.connect()
    assert pair.take() == [SendRequest(LISTENER, ("a",), first=True)]
    pair.serve(world.chain("a", "x"))
    assert pair.snapshot == world.chain("a", "x")
    assert pair.reports == []
    (note,) = pair.notes
    assert note == "control-plane speaks no delta xDS, so it is asked for the state of the world"


def test_that_a_server_speaks_no_delta_is_remembered(connected, world) -> None:
    pair = connected("a")
    pair.close("UNIMPLEMENTED", unimplemented=True)
    for _ in range(3):
        pair.connect()
        pair.respond(LISTENER, world.listener("a"))
        pair.jump(10)
        pair.close()
    pair.connect()
    assert all(isinstance(request, SendRequest) for request in pair.take())


def test_fields_without_effect_are_reported_of_resources_with_versions_too(
    connected, world
) -> None:
    pair = connected("a")
    pair.respond(LISTENER, Named("a", world.listener("a"), ignored=("odd",)))
    assert pair.reports == ["a: odd is accepted but not acted on"]
