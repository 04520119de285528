"""The rules of the protocol one by one: stream, ACK and NACK, version, nonce, wildcard."""

import pytest

from meshlib.testing.ads import AdsPair, Bad, Named
from meshlib.xds.ads import (
    Ads,
    Answered,
    RequestSent,
    StreamClosed,
    StreamOpened,
    SubscriptionChanged,
)
from meshlib.xds.backoff import Reconnects
from meshlib.xds.bootstrap import Server
from meshlib.xds.encodings import SendRequest
from meshlib.xds.responses import RawResource, ResponseReceived
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meshlib.xds.watches import ResourceState, Watches


@pytest.fixture
def encoding() -> str:
    """What requests and absence mean in state-of-the-world; ``test_delta`` has the other."""
    return "sotw"


def test_s1_the_node_goes_with_the_first_request_of_each_stream_only(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    assert [request.first for request in pair.take()] == [False, False]
    pair.close()
    pair.connect()
    assert [request.first for request in pair.take()] == [True, False]


def test_who_answers_is_connected_though_the_request_is_not_said_to_be_taken(pair, world) -> None:
    pair.watch("a")
    pair.open()
    (server,) = pair.discovery.servers()
    assert not server.connected
    pair.respond(LISTENER, world.listener("a"))
    (server,) = pair.discovery.servers()
    assert server.connected


def test_s2_the_version_survives_the_stream_and_the_nonce_does_not(connected, world) -> None:
    pair = connected("a", "b")
    pair.respond(LISTENER, world.listener("a"), world.listener("b"), version="7")
    pair.take()
    pair.close()
    pair.connect()
    first = pair.take()[0]
    assert first == SendRequest(LISTENER, ("a", "b"), version="7", nonce="", first=True)


def test_s3_an_ack_has_the_version_and_nonce_of_the_response(connected, world) -> None:
    pair = connected("a")
    nonce = pair.respond(LISTENER, world.listener("a"), version="3")
    assert pair.take()[0] == SendRequest(LISTENER, ("a",), version="3", nonce=nonce)


def test_s3_a_nack_keeps_the_accepted_version_and_advances_the_nonce(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"), version="3")
    pair.take()
    nonce = pair.respond(LISTENER, Bad("a", "has no filters"), version="4")
    [nack] = pair.take()
    assert (nack.version, nack.nonce) == ("3", nonce)
    assert nack.error == "a: has no filters"


def test_s3_a_nack_of_the_first_response_has_no_version(connected) -> None:
    pair = connected("a")
    nonce = pair.respond(LISTENER, Bad("a"), version="1")
    [nack] = pair.take()
    assert (nack.version, nack.nonce) == ("", nonce)
    assert nack.error


def test_s4_valid_siblings_of_a_bad_resource_are_used(connected, world) -> None:
    pair = connected("a", "b")
    pair.respond(LISTENER, Bad("a"), world.listener("b"))
    assert pair.discovery.watches.get(LISTENER, "a").state is ResourceState.NACKED
    assert pair.discovery.watches.get(LISTENER, "b").resource == world.listener("b")
    assert pair.names(ROUTE) == ("rb",)


def test_s4_the_nack_names_every_bad_resource(connected) -> None:
    pair = connected("a", "b")
    pair.respond(LISTENER, Bad("a", "filters: none"), Bad("b", "address: none"), Bad("", "garbage"))
    [nack] = pair.take()
    assert nack.error == "a: filters: none; b: address: none; resources[2]: garbage"


def test_s5_a_changed_subscription_repeats_version_and_nonce_with_all_names(
    connected, world
) -> None:
    pair = connected("a")
    nonce = pair.respond(LISTENER, world.listener("a"), version="3")
    pair.take()
    pair.watch("b")
    assert pair.take() == [SendRequest(LISTENER, ("a", "b"), version="3", nonce=nonce)]


def test_s6_a_name_that_comes_twice_is_refused(connected, world) -> None:
    pair = connected("a", "b")
    twice = world.listener("a"), world.listener("a", prefix="other")
    pair.respond(LISTENER, *twice, world.listener("b"))
    nack = pair.take()[0]
    assert nack.error == "a: sent 2 times in one response"
    assert pair.discovery.watches.get(LISTENER, "a").resource is None
    assert pair.discovery.watches.get(LISTENER, "b").resource is not None


def test_s7_an_unknown_type_is_not_answered_and_the_stream_goes_on(connected, world) -> None:
    pair = connected("a")
    pair.respond("type.googleapis.com/some.Thing", RawResource("some.Thing", b"?"))
    assert pair.take() == []
    assert "some.Thing" in pair.reports[-1]
    pair.respond(LISTENER, world.listener("a"))
    assert pair.take()[0].version == "1"


def test_s8_what_was_not_asked_for_is_acked_and_ignored(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"), world.listener("stranger"))
    assert pair.take()[0].error == ""
    assert pair.discovery.watches.get(LISTENER, "stranger") is None


def an_ads(*names: str) -> Ads:
    """The state machine alone, subscribed to endpoints on a connected stream."""

    def decode(type_url: str, value: bytes) -> Named:
        return Named(value.decode(), value)

    watches = Watches()
    for name in names:
        watches.watch(ENDPOINT, name)
    ads = Ads(watches, decode, types=(CLUSTER, ENDPOINT), reconnects=Reconnects(lambda: 0.5))
    ads.handle(SubscriptionChanged(ENDPOINT, names), 0)
    ads.handle(StreamOpened(), 0)
    return ads


def endpoints(version: str, nonce: str, *names: str) -> ResponseReceived:
    resources = tuple(RawResource(ENDPOINT, name.encode()) for name in names)
    return ResponseReceived(type_url=ENDPOINT, version=version, nonce=nonce, resources=resources)


def test_s8_a_response_in_flight_is_acked_after_its_names_were_unsubscribed() -> None:
    ads = an_ads("x")
    ads.handle(SubscriptionChanged(ENDPOINT, unsubscribe=("x",)), 1)
    answer = ads.handle(endpoints("1", "n1", "x"), 2)
    assert answer == (SendRequest(ENDPOINT, (), version="1", nonce="n1"), Answered())


def test_s9_a_type_begins_anew_after_its_last_name_went() -> None:
    ads = an_ads("x")
    ads.handle(endpoints("1", "n1", "x"), 1)
    gone = ads.handle(SubscriptionChanged(ENDPOINT, unsubscribe=("x",)), 2)
    again = ads.handle(SubscriptionChanged(ENDPOINT, ("x",)), 3)
    assert gone == (SendRequest(ENDPOINT, (), version="1", nonce="n1"),)
    assert again == (SendRequest(ENDPOINT, ("x",), version="", nonce="n1"),)


def test_s10_the_same_refusal_is_nacked_again_but_reported_once(connected) -> None:
    pair = connected("a")
    for version in ("1", "2"):
        pair.respond(LISTENER, Bad("a", "odd"), version=version)
    assert [bool(request.error) for request in pair.take()] == [True, True]
    assert [text for text in pair.reports if "odd" in text] == ["refused (NACK) a: odd"]


def test_s10_watchers_hear_of_the_same_refusal_once() -> None:
    watches = Watches()
    watches.watch(LISTENER, "a")
    assert watches.reject(LISTENER, "a", "1", "odd") != ()
    assert watches.reject(LISTENER, "a", "2", "odd") == ()


def test_s12_the_name_of_a_resource_message_is_the_name(connected, world) -> None:
    pair = connected("outer")
    token = pair.tokens.pack(LISTENER, world.listener("inner")).value
    pair.respond(LISTENER, RawResource(LISTENER, token, name="outer"))
    assert pair.discovery.watches.get(LISTENER, "outer").resource == world.listener("inner")


def test_s12_a_resource_of_a_wrong_type_is_refused(connected, world) -> None:
    pair = connected("a", "b")
    stray = pair.tokens.pack(CLUSTER, world.cluster("a")).value
    pair.respond(LISTENER, RawResource(CLUSTER, stray, name="a"), world.listener("b"))
    nack = pair.take()[0]
    assert nack.error.startswith("a: is a 'type.googleapis.com/envoy.config.cluster")
    assert pair.discovery.watches.get(LISTENER, "b").resource is not None


def test_s12_a_resource_without_body_is_a_heartbeat_only(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(LISTENER, RawResource("", None, name="a"), version="2")
    entry = pair.discovery.watches.get(LISTENER, "a")
    assert (entry.resource, entry.error) == (world.listener("a"), "")


def with_ttl(pair: AdsPair, resource: object, ttl: float | None) -> RawResource:
    token = pair.tokens.pack(LISTENER, resource).value
    return RawResource(LISTENER, token, name="a", ttl=ttl)


def test_s13_a_resource_with_a_ttl_goes_when_contact_is_lost(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, with_ttl(pair, world.listener("a"), 10))
    pair.close()
    pair.jump(9)
    assert pair.discovery.watches.get(LISTENER, "a").resource is not None
    pair.jump(1)
    assert pair.discovery.watches.get(LISTENER, "a").is_absent


def test_s13_a_heartbeat_prolongs_the_ttl(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, with_ttl(pair, world.listener("a"), 10))
    pair.jump(9)
    pair.respond(LISTENER, RawResource("", None, name="a", ttl=10), version="2")
    pair.jump(9)
    assert pair.discovery.watches.get(LISTENER, "a").resource is not None


def test_s13_a_resource_sent_again_without_ttl_stays(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, with_ttl(pair, world.listener("a"), 10))
    pair.respond(LISTENER, with_ttl(pair, world.listener("a"), None), version="2")
    pair.jump(3600)
    assert pair.discovery.watches.get(LISTENER, "a").resource is not None


def test_w1_after_a_name_an_empty_list_takes_back_every_subscription() -> None:
    ads = an_ads("x")
    ads.handle(SubscriptionChanged(CLUSTER, ("c",)), 1)
    [request] = ads.handle(SubscriptionChanged(CLUSTER, unsubscribe=("c",)), 2)
    assert (request.type_url, request.names) == (CLUSTER, ())


def test_w2_a_new_stream_sends_nothing_for_a_type_without_names() -> None:
    ads = an_ads("x")
    ads.handle(SubscriptionChanged(CLUSTER, ("c",)), 1)
    ads.handle(SubscriptionChanged(CLUSTER, unsubscribe=("c",)), 2)
    ads.handle(endpoints("1", "n1", "x"), 3)
    ads.handle(StreamClosed("gone"), 4)
    assert [request.type_url for request in ads.handle(StreamOpened(), 5)] == [ENDPOINT]


def test_w2_an_answer_that_nobody_asked_for_is_not_acked_into_a_wildcard() -> None:
    ads = an_ads("x")
    response = ResponseReceived(type_url=CLUSTER, version="1", nonce="n1")
    actions = ads.handle(response, 1)
    assert not [action for action in actions if isinstance(action, SendRequest)]


def test_nothing_is_asked_before_something_is_watched(pair) -> None:
    pair.watch()
    assert not pair.wants_stream
    pair.watch("a")
    assert pair.wants_stream


def test_an_error_that_is_no_config_error_refuses_only_its_resource() -> None:
    def explode(type_url: str, value: bytes) -> Named:
        raise ZeroDivisionError(value)

    watches = Watches()
    watches.watch(ENDPOINT, "x")
    ads = Ads(watches, explode, types=(ENDPOINT,), reconnects=Reconnects(lambda: 0.5))
    ads.handle(SubscriptionChanged(ENDPOINT, ("x",)), 0)
    [request] = ads.handle(StreamOpened(), 0)
    ads.handle(RequestSent(request), 0)
    [nack, _, report] = ads.handle(endpoints("1", "n1", "x"), 1)
    assert "cannot be decoded" in nack.error
    assert "ZeroDivisionError" in report.text


@pytest.mark.parametrize("params", ["?b=2&a=1", "?a=1&b=2"])
def test_names_equal_but_for_the_order_of_parameters_are_one_name(world, params) -> None:
    server = (Server(server_uri="one"),)
    pair = AdsPair(servers={None: server, "here": server})
    pair.watch("xdstp://here/envoy.config.listener.v3.Listener/a?b=2&a=1")
    pair.connect()
    name = f"xdstp://here/envoy.config.listener.v3.Listener/a{params}"
    pair.respond(LISTENER, world.listener(name, "r"))
    assert pair.names(ROUTE) == ("r",)
