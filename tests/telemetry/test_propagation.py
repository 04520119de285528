"""Which headers are handed on, and in which shape."""

import contextvars
import uuid

import pytest

from meshlib.dataplane import Request
from meshlib.telemetry import Propagation

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def of(*headers):
    """A request with these headers."""
    return Request("reviews:9080", "GET", "/", headers=headers)


@pytest.fixture
def passed():
    """What goes out of a call that came in with these headers."""

    def play(*headers, extra=(), foreign=False):
        propagation = Propagation(extra, request_id=lambda: "made")

        def run():
            propagation.receive(of(*headers))
            return dict(propagation.outgoing(foreign=foreign))

        return contextvars.copy_context().run(run)

    return play


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("traceparent", PARENT),
        ("baggage", "user=a;p=1,b=2"),
        ("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"),
        ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"),
        ("x-b3-spanid", "e457b5a2e4d86bd1"),
        ("x-b3-parentspanid", "05e3ac9a4f6e3b90"),
        ("x-b3-sampled", "1"),
        ("x-b3-flags", "1"),
        ("x-request-id", "r-1"),
        ("x-ot-span-context", "a;b;c"),
    ],
)
def test_what_belongs_to_the_chain_is_handed_on(passed, name, value):
    assert passed((name, value))[name] == value


def test_other_headers_are_not(passed):
    headers = (("authorization", "secret"), ("end-user", "jason"), ("cookie", "c"))
    assert passed(*headers) == {"x-request-id": "made"}


def test_further_names_are_handed_on_where_asked_for(passed):
    assert passed(("end-user", "jason"), extra=["End-User"])["end-user"] == "jason"


def test_baggage_and_further_names_stay_within_the_mesh(passed):
    headers = (("traceparent", PARENT), ("baggage", "a=1"), ("end-user", "jason"))
    kept = passed(*headers, extra=["end-user", "traceparent"], foreign=True)
    assert kept == {"traceparent": PARENT, "x-request-id": "made"}


def test_a_request_id_that_came_along_stays(passed):
    assert passed(("x-request-id", "r-1")) == {"x-request-id": "r-1"}


def test_a_made_request_id_is_a_uuid():
    def run():
        propagation = Propagation()
        propagation.receive(of())
        return dict(propagation.outgoing())

    made = contextvars.copy_context().run(run)["x-request-id"]
    assert uuid.UUID(made).version == 4


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        PARENT.upper(),
        PARENT + "-more",
        "ff" + PARENT[2:],
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        PARENT + "\r\nx: y",
        "0" * 9000,
    ],
)
def test_a_malformed_traceparent_is_dropped_and_its_tracestate_too(passed, value):
    assert passed(("traceparent", value), ("tracestate", "a=1")) == {"x-request-id": "made"}


def test_a_traceparent_of_a_later_version_may_be_longer(passed):
    later = "01" + PARENT[2:] + "-what-comes"
    assert passed(("traceparent", later))["traceparent"] == later


def test_two_traceparents_say_nothing(passed):
    assert "traceparent" not in passed(("traceparent", PARENT), ("traceparent", PARENT))


def test_lists_in_several_headers_are_joined(passed):
    headers = (("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"))
    assert passed(*headers)["tracestate"] == "a=1,b=2"


def test_the_first_of_several_request_ids_counts(passed):
    assert passed(("x-request-id", "1"), ("x-request-id", "2"))["x-request-id"] == "1"


@pytest.mark.parametrize("value", ["", "a\r\nb", "a\x00", "ä", "x" * 8193])
@pytest.mark.parametrize("name", ["baggage", "b3", "end-user"])
def test_what_is_empty_malformed_or_too_long_is_dropped(passed, name, value):
    assert name not in passed((name, value), extra=["end-user"])


def test_as_much_baggage_as_w3c_asks_for_is_carried(passed):
    assert len(passed(("baggage", "a=" + "x" * 8190))["baggage"]) == 8192


def test_after_release_nothing_is_left():
    propagation = Propagation(request_id=lambda: "made")
    token = propagation.receive(of(("b3", "1")))
    inner = propagation.receive(of(("b3", "0")))
    assert dict(propagation.outgoing())["b3"] == "0"
    propagation.release(inner)
    assert dict(propagation.outgoing())["b3"] == "1"
    propagation.release(token)
    assert propagation.outgoing() == ()


def test_a_release_elsewhere_than_it_was_received_breaks_nothing():
    propagation = Propagation()
    token = contextvars.copy_context().run(propagation.receive, of())
    propagation.release(token)
    assert propagation.outgoing() == ()


def test_what_goes_with_every_call_goes_to_hosts_of_the_mesh_alone():
    propagation = Propagation(constant=(("x-envoy-peer-metadata", "me"),))
    assert propagation.outgoing() == (("x-envoy-peer-metadata", "me"),)
    assert propagation.outgoing(foreign=True) == ()


def test_who_called_is_never_said_to_have_called_the_next():
    propagation = Propagation(["x-envoy-peer-metadata"])
    token = propagation.receive(Request("", "GET", "/", headers=(("x-envoy-peer-metadata", "he"),)))
    try:
        assert "x-envoy-peer-metadata" not in dict(propagation.outgoing())
    finally:
        propagation.release(token)
