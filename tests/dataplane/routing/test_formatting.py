from typing import Any, cast

import pytest

from meshlib.dataplane import CallRecord, Request, Whereabouts
from meshlib.dataplane.routing.formatting import Facts, TimeFormat, compile_format
from meshlib.model import Metadata, Struct

HERE = Whereabouts(
    hostname="pod-1",
    environment={"POD": "pod-1"},
    wall_clock=lambda: 1_700_000_003.0,
    clock=lambda: 13.0,
)
SAID = Metadata((("ns", Struct((("list", (1.0, True, None)), ("number", 4.5), ("text", "said")))),))
REQUEST = Request(
    "reviews:9080",
    "GET",
    "/a?b",
    "shop",
    headers=(("x", "one"), ("x", "two")),
    source="10.0.0.1:4321",
    dynamic_metadata=SAID,
)


def filled(
    text: str, request: Request = REQUEST, record: CallRecord | None = None, **facts: Any
) -> str:
    made = compile_format(text, HERE)
    return made if isinstance(made, str) else made(Facts(request, record, **facts))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100%%", "100%"),
        ("%REQ(X)%", "one"),
        ("%REQ(none?x):2%", "on"),
        ("[%REQ(none)%]", "[]"),
        ("%REQ(:method)% %REQ(:path)% %REQ(host)%", "GET /a?b shop"),
        ("%PROTOCOL%", "HTTP/1.1"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "10.0.0.1:4321"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.1"),
        ("%DOWNSTREAM_REMOTE_PORT%", "4321"),
        ("%HOSTNAME% %ENVIRONMENT(POD)% %ENVIRONMENT(NONE)%", "pod-1 pod-1 -"),
        ("%DYNAMIC_METADATA(ns:text)%", "said"),
        ("%DYNAMIC_METADATA(ns:number)%", "4.5"),
        ("%DYNAMIC_METADATA(ns:list):4%", "[1,t"),
        ("%DYNAMIC_METADATA(ns:none:deeper)%.", "."),
        ("%RESP(x)%.", "."),
        ("%ROUTE_NAME%%UPSTREAM_CLUSTER%%UPSTREAM_HOST%%METADATA(ROUTE:ns:text)%.", "."),
        ("%VIRTUAL_CLUSTER_NAME%%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "0"),
        ("%START_TIME(%s.%3f)%", "1700000003.000"),
    ],
)
def test_a_value_is_filled_in(text: str, expected: str) -> None:
    assert filled(text) == expected


def test_a_call_began_when_it_began_and_not_when_its_answer_came() -> None:
    assert filled("%START_TIME%", record=CallRecord(REQUEST, 10.0)) == "2023-11-14T22:13:20.000Z"


def test_an_answer_tells_of_itself() -> None:
    told = (("x", "1"), ("x", "2"))
    assert filled("%RESP(none?x)% %REQ(x)%", response=told) == "1 one"


def test_a_call_of_grpc_speaks_http_2_and_one_of_this_process_has_no_address() -> None:
    call = Request("reviews:9080", "POST", "/a.B/C", is_grpc=True)
    assert filled("%PROTOCOL% %DOWNSTREAM_REMOTE_ADDRESS%%DOWNSTREAM_REMOTE_PORT%", call) == (
        "HTTP/2 "
    )


@pytest.mark.parametrize(
    ("source", "expected"), [("[::1]:80", "::1"), ("::1", "::1"), ("10.0.0.1", "10.0.0.1")]
)
def test_an_address_is_told_without_its_port(source: str, expected: str) -> None:
    request = Request("reviews:9080", "GET", "/", source=source)
    assert filled("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", request) == expected


def test_a_moment_is_written_in_utc_with_as_many_digits_as_asked_for() -> None:
    text = "%Y-%m-%d %H:%M:%S %f %1f %9f %% at %s"
    assert TimeFormat(text)(1.25) == "1970-01-01 00:00:01 250000000 2 250000000 % at 1"


def test_what_is_plain_costs_nothing_per_call() -> None:
    assert cast(object, compile_format("plain %%", HERE)) == "plain %"
