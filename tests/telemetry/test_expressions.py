"""Expressions about calls, with the names that Envoy has for what is known of one."""

import pytest

from meshlib.dataplane import (
    CallEnded,
    CallRecord,
    Cause,
    Connection,
    Failure,
    Meter,
    Peer,
    Request,
    Response,
)
from meshlib.errors import ConfigError
from meshlib.model import Metadata, Struct
from meshlib.model.workload import facts_of
from meshlib.telemetry.attributes import ATTRIBUTES
from meshlib.telemetry.expressions import attributes, compile_expression
from meshlib.xds.expressions import ROOTS, TOLD, silent_in, why_not_cel

REVIEWS = facts_of(
    {"app": "reviews", "version": "v2"}, workload="reviews-v2", namespace="a", cluster="c1"
)
PAGE = facts_of({"app": "page"}, workload="page", namespace="b", cluster="c1")


def a_call(outcome=None, *, inbound=False, **fields):
    request = Request(
        target="reviews:9080",
        method="GET",
        path="/reviews/1?full=yes",
        headers=(("x-user", "ann"), ("x-tag", "a"), ("x-tag", "b"), ("user-agent", "curl")),
        dynamic_metadata=Metadata((("jwt", Struct((("sub", "ann"), ("aud", ("a", "b"))))),)),
        meter=Meter(request_bytes=10, response_bytes=20),
        source="10.0.0.9:4711",
        connection=Connection(
            peer=Peer(secure=True, spiffe_id="spiffe://td/ns/a/sa/b", uri_sans=("spiffe://td/x",)),
            local_address="10.0.0.1:9080",
        ),
    )
    record = CallRecord(request=request, started=0.0, inbound=inbound, **fields)
    return CallEnded(record, outcome or Response(200, (("x-a", "1"),)), 0.25)


def told(text, call):
    expression = compile_expression(text)
    return expression.value(attributes(call, expression.roots))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("request.path", "/reviews/1?full=yes"),
        ("request.url_path", "/reviews/1"),
        ("request.query", "full=yes"),
        ("request.host", "reviews:9080"),
        ("request.method", "GET"),
        ("request.headers['x-tag']", "a,b"),
        ("request.useragent", "curl"),
        ("request.protocol", "HTTP/1.1"),
        ("request.size + response.size", 30),
        ("request.duration == duration('250ms')", True),
        ("request.time > timestamp('2020-01-01T00:00:00Z')", True),
        ("response.code", 200),
        ("response.headers['x-a']", "1"),
        ("response.flags", 0),
        ("metadata.filter_metadata['jwt']['sub']", "ann"),
        ("metadata.filter_metadata['jwt']['aud'][1]", "b"),
        ("listener_direction", 2),
        ("connection.mtls", False),
    ],
)
def test_a_call_is_asked_by_envoys_names(text, value):
    assert told(text, a_call()) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("source.address", "10.0.0.9:4711"),
        ("source.port", 4711),
        ("source.principal", "td/ns/a/sa/b"),
        ("destination.port", 9080),
        ("connection.mtls", True),
        ("connection.uri_san_peer_certificate", "spiffe://td/x"),
        ("xds.listener_direction", 1),
    ],
)
def test_a_served_call_tells_who_came_and_where(text, value):
    assert told(text, a_call(inbound=True)) == value


def test_a_failure_has_the_code_that_envoy_would_have_given_and_its_flag():
    call = a_call(Failure(Cause.TIMEOUT, grpc_status=4))
    assert told("response.code", call) == 504
    assert told("response.flags == 4", call) is True
    assert told("response.grpc_status", call) == 4


@pytest.mark.parametrize(
    "text",
    [
        "request.headers['x-missing'] == 'a'",
        "request.referer == ''",
        "xds.cluster_name == 'a'",
        "filter_state['x'] == 'a'",
        "response.code / 0 == 1",
        "request.method > 3",
        "response.code",
    ],
)
def test_without_a_value_nothing_holds(text):
    expression = compile_expression(text)
    assert not expression.holds(attributes(a_call(), expression.roots))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("request.method", "GET"),
        ("response.code", "200"),
        ("connection.mtls", "false"),
        ("b'ab'", "ab"),
        ("request.headers['x-missing']", "unknown"),
        ("request.headers", "unknown"),
        ("''", "unknown"),
    ],
)
def test_a_label_that_cannot_be_told_is_unknown(text, label):
    expression = compile_expression(text)
    assert expression.label(attributes(a_call(), expression.roots)) == label


def test_only_what_an_expression_speaks_of_is_found_out():
    expression = compile_expression("[1].exists(x, x == response.code)")
    assert expression.roots == {"response"}
    assert set(attributes(a_call(), expression.roots)) == {"response"}


def test_what_is_told_of_a_call_is_what_may_be_asked_for():
    for inbound in (False, True):
        call = a_call(inbound=inbound)
        call.parties = PAGE, REVIEWS
        found = attributes(call)
        for root, fields in TOLD.items():
            assert set(found[root]) <= set(fields.split())


@pytest.mark.parametrize(
    ("text", "silent"),
    [
        ("response.code >= 500 && request.headers['response.cod'] == \"a'request.b\"", ()),
        ("response.cod >= 500", ("response.cod",)),
        ("node.id == request.hots", ("node.id", "request.hots")),
        ("request.path.startsWith('/a') && has(request.headers.x)", ()),
        ("has(upstream.locality)", ("upstream.locality",)),
        ("metadata.request.nobody == 1", ()),
    ],
)
def test_what_nobody_can_tell_is_found_before_any_call(text, silent):
    assert why_not_cel(text) == ""
    assert silent_in(text) == silent


def test_everything_that_may_be_spoken_of_can_be_asked():
    assert set(ATTRIBUTES) == ROOTS
    assert set(attributes(a_call())) == ROOTS


def test_an_expression_that_is_none_is_a_bad_configuration():
    with pytest.raises(ConfigError, match=r"expression 'request\.': is not a valid CEL"):
        compile_expression("request.")


def test_an_equal_text_is_compiled_once():
    assert compile_expression("request.host") is compile_expression("request.host")


@pytest.mark.parametrize(
    ("text", "going", "coming"),
    [
        ("source.workload", "page", "page"),
        ("destination.workload", "reviews-v2", "reviews-v2"),
        ("destination.workload_namespace", "a", "a"),
        ("upstream_peer.workload", "reviews-v2", None),
        ("upstream_peer.labels['version']", "v2", None),
        ("upstream_peer.labels['version'].value", "v2", None),
        ("upstream_peer.labels . version.value", "v2", None),
        ("upstream_peer.labels['tier'].value", None, None),
        ("downstream_peer.namespace", None, "b"),
        ("downstream_peer.service", None, "page"),
        ("node.metadata['WORKLOAD_NAME']", "page", "reviews-v2"),
        ("xds.node.metadata['LABELS']['app']", "page", "reviews"),
    ],
)
def test_expressions_know_who_takes_part_in_a_call(text, going, coming):
    for inbound, wanted in ((False, going), (True, coming)):
        call = a_call(inbound=inbound)
        assert told(text, call) is None
        call.parties = PAGE, REVIEWS
        assert told(text, call) == wanted


@pytest.mark.parametrize(("label", "told_of"), [("version", "yes"), ("tier", "no")])
def test_a_label_that_a_peer_has_not_can_be_asked_for(label, told_of):
    call = a_call()
    call.parties = PAGE, REVIEWS
    assert told(f"has(upstream_peer.labels['{label}'].value) ? 'yes' : 'no'", call) == told_of
