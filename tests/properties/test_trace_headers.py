"""Whatever a caller writes in its trace headers: no call breaks, and nothing malformed goes out."""

import contextvars
import re

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider

from meshlib.dataplane import CallEnded, CallRecord, Meter, Request, Response, Send
from meshlib.middleware._grpc_request import ROOM, joined
from meshlib.telemetry import Propagation
from meshlib.telemetry.propagation import PRIVATE, TRACE
from meshlib.telemetry.tracing import Tracer
from meshlib.testing.grpc_servers import serving

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEX = st.text("0123456789abcdef", min_size=1, max_size=33)
NAMES = st.sampled_from(sorted({*TRACE, *PRIVATE, "x-tenant"}))
NEARLY = st.one_of(
    st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?", fullmatch=True),
    st.from_regex(r"[0-9a-fA-F]{16}([0-9a-f]{16})?-[0-9a-f]{16}(-[01d])?", fullmatch=True),
    st.lists(st.from_regex(r"[a-z0-9@*]{1,4}=[!-~ ]{0,6}", fullmatch=True), max_size=40).map(
        ",".join
    ),
    HEX,
    st.sampled_from(["", "0", "1", "d", "true", PARENT, "0" * 32, "=", ";", ",,,", " ", "\t"]),
)
WILD = st.text(st.characters(codec="latin-1"), max_size=60)
LONG = st.integers(1, 20_000).map(lambda count: "a=" + "b" * count)
HEADERS = st.lists(st.tuples(NAMES, st.one_of(NEARLY, WILD, LONG)), max_size=12).map(tuple)

SHAPES = {
    "traceparent": re.compile(r"(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?"),
    "b3": re.compile(r"[01d]|([0-9a-f]{16}){1,2}-[0-9a-f]{16}(-[01d](-[0-9a-f]{16})?)?"),
    "x-b3-traceid": re.compile(r"([0-9a-f]{16}){1,2}"),
    "x-b3-spanid": re.compile(r"[0-9a-f]{16}"),
    "x-b3-sampled": re.compile(r"0|1|true|false"),
    "baggage": re.compile(r"[^=,]+=[^,]*(,[^=,]+=[^,]*)*"),
    "tracestate": re.compile(r"[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*"),
}


@pytest.fixture(scope="module", params=["an SDK", "an API"])
def propagation(request):
    tracer = Tracer(TracerProvider()) if request.param == "an SDK" else Tracer()
    return Propagation(["x-tenant"], tracing=tracer)


def run(propagation, headers, is_grpc):
    """A call comes in, a call goes out; the headers of the latter."""
    received = Request("", "POST", "/a.B/C", headers=headers, is_grpc=is_grpc, meter=Meter())
    entered = propagation.receive(received)
    try:
        sent = Request("reviews:9080", "POST", "/a.B/C", is_grpc=is_grpc, meter=Meter())
        out = propagation.outgoing()
        propagation.begin(sent)
        made = sent.meter.trace
        ours = () if made is None else made.attempt(Send(sent, None, None))
        names = {name for name, _ in ours}
        return (*(pair for pair in out if pair[0] not in names), *ours)
    finally:
        propagation.release(entered)


def apart(play, *args):
    def bare():
        context.attach(context.Context())
        found = play(*args)
        assert not trace.get_current_span().get_span_context().is_valid
        return found

    return contextvars.copy_context().run(bare)


@settings(max_examples=100, deadline=None)
@given(headers=HEADERS, is_grpc=st.booleans())
def test_nothing_malformed_goes_out(propagation, headers, is_grpc):
    sent = apart(run, propagation, headers, is_grpc)
    names = [name for name, _ in sent]
    assert len(set(names)) == len(names)
    assert "x-request-id" in names
    for name, value in sent:
        assert value
        assert len(value) <= 8192
        assert re.fullmatch(r"[\x20-\x7e\t]+", value)
        if name in SHAPES:
            assert SHAPES[name].fullmatch(value), (name, value)


@settings(max_examples=100, deadline=None)
@given(headers=HEADERS)
def test_what_goes_out_is_metadata_that_grpc_takes(propagation, headers):
    metadata = joined(None, apart(run, propagation, headers, True))
    assert sum(len(name) + len(value) + 32 for name, value in metadata) <= ROOM
    for name, value in metadata:
        assert isinstance(value, bytes if name.endswith("-bin") else str)


@settings(max_examples=60, deadline=None)
@given(headers=HEADERS)
def test_a_sound_traceparent_is_followed_whatever_stands_beside_it(headers):
    propagation = Propagation(tracing=Tracer(TracerProvider()))
    others = tuple(pair for pair in headers if pair[0] != "traceparent")
    sent = dict(apart(run, propagation, (*others, ("traceparent", PARENT)), False))
    assert sent["traceparent"].split("-")[1] == PARENT.split("-")[1]
    assert sent["traceparent"].split("-")[2] != PARENT.split("-")[2]


@settings(max_examples=60, deadline=None)
@given(headers=HEADERS)
def test_a_call_that_never_came_to_a_handler_is_traced_whatever_it_brought(headers):
    tracer = Tracer(TracerProvider())
    request = Request("", "POST", "/a.B/C", headers=headers, is_grpc=True, meter=Meter())
    record = CallRecord(request, 0.0, inbound=True)
    apart(tracer.unmet, CallEnded(record, Response(200, (), 7), 0.1), 10**18)


SIZES = st.integers(0, 9000)


@settings(max_examples=12, deadline=None)
@given(sizes=st.tuples(SIZES, SIZES, SIZES))
def test_no_size_breaks_a_grpc_call(echo, sizes):
    propagation = Propagation(["x-tenant"])
    baggage, tenant, span = ("a=" + "b" * size for size in sizes)
    headers = (("baggage", baggage), ("x-tenant", tenant), ("x-ot-span-context", span))
    metadata = joined(None, apart(run, propagation, headers, True))
    assert echo(b"", metadata=metadata, timeout=10) == b""


@pytest.fixture(scope="module")
def echo():
    with (
        serving("/a.B/C", lambda request, _call: request) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel.unary_unary("/a.B/C")
