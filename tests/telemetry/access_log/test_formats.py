import json
import logging
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from meshlib import ConfigError
from meshlib.dataplane import Cause, Connection, Failure, Meter, Request, Response, Send
from meshlib.model import Struct
from meshlib.model.format import FormatError, Operator
from meshlib.model.log_format import (
    ENVOY_FORMAT,
    ISTIO_FORMAT,
    ISTIO_JSON,
    KNOWN,
    parse_log_format,
    secrets_in,
)
from meshlib.model.telemetry import NEVER_SET, RESPONSE_FLAGS, AccessLog, FileAccessLog
from meshlib.telemetry import Propagation
from meshlib.telemetry.access_log import compile_log, default_log
from meshlib.telemetry.access_log.formats import compile_json, compile_text
from meshlib.telemetry.access_log.values import as_json, one_line
from meshlib.telemetry.tracing import Tracer


@pytest.fixture
def said(site):
    def said(text, event, **options):
        return compile_text(text, site.whereabouts, **options)(event)

    return said


METER = Meter(request_bytes=5, response_bytes=7, request_ended=100.01, response_began=100.2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("%START_TIME%", "2023-11-14T22:13:20.000Z"),
        ("%START_TIME(%s.%6f)%", "1700000000.000000"),
        ("%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "GET /books?page=2"),
        ("%REQ(USER-AGENT):4%", "curl"),
        ("%REQ_WITHOUT_QUERY(:PATH)%", "/books"),
        ("%REQ(X-NONE)% %REQ_WITHOUT_QUERY(X-NONE)%", "- -"),
        ("%RESP(SERVER)%", "nginx"),
        ("%TRAILER(X-T)% %TRAILER(X-N?X-T)% %TRAILER(X-N)%", "t t -"),
        ("%PROTOCOL% %UPSTREAM_PROTOCOL%", "HTTP/1.1 -"),
        ("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", "200 - -"),
        ("%RESPONSE_CODE_DETAILS%", "via_upstream_it_seems"),
        ("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", "via_upstream it seems"),
        ("%BYTES_RECEIVED% %BYTES_SENT%", "5 7"),
        ("%DURATION% %REQUEST_DURATION% %RESPONSE_DURATION%", "250 10 200"),
        ("%REQUEST_TX_DURATION% %RESPONSE_TX_DURATION%", "50 50"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%", "250000"),
        ("%COMMON_DURATION(US_RX_BEG:DS_RX_BEG)%", "-"),
        ("%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "150"),
        ("%GRPC_STATUS% %GRPC_STATUS_NUMBER%", "- -"),
        ("%ROUTE_NAME% %UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW% %UPSTREAM_HOST%", "- - - -"),
        ("%UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_LOCAL_ADDRESS%", "- -"),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT% %VIRTUAL_CLUSTER_NAME%", "0 -"),
        ("%HOSTNAME% %ENVIRONMENT(POD)% %ENVIRONMENT(NONE)%", "here p-1 -"),
        ("%STREAM_ID%", "0000000a-0000-4000-8000-000000000000"),
        ("%TRACE_ID%", "0af7651916cd43dd8448eb211c80319c"),
        ("%METADATA(ROUTE:a:b)% %DYNAMIC_METADATA(a)% %UPSTREAM_METADATA(a)%", "- - -"),
        ("%CLUSTER_METADATA(a:b)% %METADATA(UPSTREAM_HOST:a:b)%", "- -"),
        ("%CEL(response.code + 1)% %CEL(request.path == '/')%", "201 false"),
        ("%CEL(request.headers['x-none'])%", "-"),
        ("%ACCESS_LOG_TYPE% 100%%\n", "DownstreamEnd 100%\n"),
    ],
)
def test_an_operator_says_what_envoys_says(said, call, text, value):
    answer = Response(200, (("server", "nginx"),), trailers=(("x-t", "t"), ("x-t", "u")))
    event = call(answer, meter=METER, attempts=1, attempt_began=100.05)
    event.record.details = "via_upstream it seems"
    assert said(text, event) == value


def test_a_served_call_tells_who_called(said, call, peer):
    connection = Connection(
        peer=peer, local_address="10.0.0.1:8080", server_name="a.b", refusal="not a friend"
    )
    event = call(connection=connection, source="[::1]:4040", inbound=True)
    assert said("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_PORT%", event) == "[::1]:4040 4040"
    assert said("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", event) == "::1"
    assert said("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", event) == "[::1]:4040"
    assert said("%DOWNSTREAM_LOCAL_ADDRESS%", event) == "10.0.0.1:8080"
    assert said("%DOWNSTREAM_PEER_URI_SAN%", event) == "spiffe://a/b,spiffe://c/d"
    assert said("%DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_SERIAL%", event) == "CN=web 0a1b"
    assert said("%REQUESTED_SERVER_NAME%", event) == "a.b"
    assert said("%CONNECTION_TERMINATION_DETAILS%", event) == "not a friend"


def test_whom_a_gateway_calls_for_is_the_remote_address(said, call):
    event = call(source="10.0.0.7:99", inbound=True)
    event.record.sent = event.record.request.on_behalf_of("203.0.113.9")
    event.record.request = event.record.sent
    assert said("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_PORT%", event) == "203.0.113.9 -"
    assert said("%DOWNSTREAM_DIRECT_REMOTE_PORT%", event) == "99"


@pytest.mark.parametrize(
    ("cause", "code", "flags"),
    [
        (Cause.CONNECT, 503, "UF"),
        (Cause.TIMEOUT, 504, "UT"),
        (Cause.NO_ENDPOINT, 503, "UH"),
        (Cause.NO_ROUTE, 404, "NR"),
        (Cause.CANCELLED, 0, "DC"),
        (Cause.NO_CONFIG, 503, "NR"),
        (Cause.NO_FILTER_CONFIG, 500, "NFCF"),
    ],
)
def test_a_failure_has_the_code_that_envoy_would_answer(said, call, cause, code, flags):
    assert said("%RESPONSE_CODE% %RESPONSE_FLAGS%", call(Failure(cause))) == f"{code} {flags}"


@pytest.mark.parametrize("operator", ["FILTER_STATE(wasm.x:PLAIN):9", "PATH:3", "EMIT_TIME(%s)"])
def test_what_only_a_proxy_knows_has_no_value(said, site, call, operator):
    assert said(f"[%{operator}%]", call()) == "[-]"
    template = Struct((("a", f"%{operator}%"),))
    assert json.loads(compile_json(template, site.whereabouts)(call())) == {"a": None}


def test_headers_have_two_names(said, call):
    event = call(Response(200, (("x-b", "2"),)))
    assert said("%REQUEST_HEADER(:METHOD)%", event) == said("%REQ(:METHOD)%", event) == "GET"
    assert said("%RESPONSE_HEADER(X-A?X-B):5%", event) == "2"
    assert said("%RESPONSE_TRAILER(X-B)%", event) == "-"
    assert secrets_in("%REQUEST_HEADER(Authorization)%") == ("authorization",)


def test_what_is_never_filled_in_is_told_of_the_log_of_the_environment(caplog):
    asked = {"MESHLIB_ACCESS_LOG": "/x", "MESHLIB_ACCESS_LOG_FORMAT": "%UNIQUE_ID% %PATH%"}
    default_log(asked)
    assert [one.getMessage() for one in caplog.records] == [
        f"MESHLIB_ACCESS_LOG_FORMAT: %{name}% is never filled in" for name in ("UNIQUE_ID", "PATH")
    ]


def test_every_flag_is_set_by_some_call_or_known_to_be_never_set():
    caused = {flag for cause in Cause for flag in cause.flags}
    assert set(RESPONSE_FLAGS) - NEVER_SET == caused.intersection(RESPONSE_FLAGS) | {"DI", "URX"}


def test_flags_come_in_the_order_in_which_they_were_set(said, call):
    event = call(Failure(Cause.TIMEOUT), flags=("DI",), retries_exhausted=True)
    assert said("%RESPONSE_FLAGS%", event) == "DI,URX,UT"
    assert said("%RESPONSE_FLAGS_LONG%", event) == (
        "DelayInjected,UpstreamRetryLimitExceeded,UpstreamRequestTimeout"
    )


def test_why_there_was_no_connection_is_told_apart(said, call):
    event = call(Failure(Cause.CONNECT))
    event.record.details = "upstream_reset_before_response_started{x|Connection refused}"
    assert said("%UPSTREAM_TRANSPORT_FAILURE_REASON%", event) == "Connection_refused"
    event.record.details = "upstream_reset_before_response_started{x}"
    assert said("%UPSTREAM_TRANSPORT_FAILURE_REASON%", event) == "-"


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Response(200), "OK OK 0 0 200"),
        (Response(200, grpc_status=5), "NotFound NOT_FOUND 5 5 200"),
        (Response(200, grpc_status=77), "77 77 77 77 200"),
        (Response(503), "Unavailable UNAVAILABLE 14 14 503"),
        (Failure(Cause.TIMEOUT), "DeadlineExceeded DEADLINE_EXCEEDED 4 4 200"),
        (Failure(Cause.CONNECT), "Unavailable UNAVAILABLE 14 14 200"),
    ],
)
def test_a_grpc_status_has_three_spellings(said, call, outcome, told):
    text = (
        "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER% "
        "%RESPONSE_CODE%"
    )
    assert said(text, call(outcome, is_grpc=True)) == told


def test_what_the_route_made_of_a_request_is_told(said, call):
    event = call()
    event.record.sent = Request("books:9080", "GET", "/v2", headers=(("x-new", "1"),))
    assert said("%REQ(:PATH)% %REQ(X-NEW)%", event) == "/v2 1"


def test_what_the_caller_sees_of_a_response_is_told(said, call):
    event = call(Response(200, (("a", "1"),)))
    event.record.responds(lambda headers: (*headers, ("b", "2")))
    assert said("%RESP(A)% %RESP(B)%", event) == "1 2"


def test_what_is_missing_may_be_left_empty(said, call):
    assert said("[%REQ(X-NONE)%]", call(), omit_empty_values=True) == "[]"


def test_json_keeps_types_and_order(site, call):
    template = Struct(
        (
            ("z", "%RESPONSE_CODE%"),
            ("a", Struct((("list", ("%DURATION%", "%REQ(X-NONE)%", 7.0, 1.5, "x")),))),
            ("mixed", "%RESPONSE_CODE%/%REQ(X-NONE)%"),
            ("none", "%REQ(X-NONE)%"),
            ("empty", ""),
        )
    )
    line = compile_json(template, site.whereabouts)(call())
    assert line == (
        '{"a":{"list":[250,null,7,1.5,"x"]},"empty":"","mixed":"200/-","none":null,"z":200}\n'
    )
    line = compile_json(template, site.whereabouts, omit_empty_values=True)(call())
    assert line == '{"a":{"list":[250,7,1.5,"x"]},"empty":"","mixed":"200/","z":200}\n'


@given(st.text())
def test_whatever_a_header_says_it_is_one_line(value):
    assert len(one_line(f"a{value}b").splitlines()) == 1
    assert "\n" not in one_line(value)
    assert len(as_json({"a": f"a{value}b"}).splitlines()) == 1
    assert json.loads(as_json({"a": value})) == {"a": value}


def test_control_characters_are_escaped(said, site, call):
    event = call(headers=(("user-agent", 'a\r\nb\x1b\x00\u2028"\tc'),))
    assert said("%REQ(USER-AGENT)%", event) == 'a\\r\\nb\\x1b\\x00\\u2028"\tc'
    template = Struct((("ua", "<%REQ(USER-AGENT)%>"),))
    line = compile_json(template, site.whereabouts)(event)
    assert json.loads(line) == {"ua": '<a\r\nb\x1b\x00\u2028"\tc>'}
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("%FILTER_STATE%", "%FILTER_STATE% needs an argument"),
        ("%UNIQUE_ID(a)%", "%UNIQUE_ID% takes no argument"),
        ("%NONSENSE%", "%NONSENSE%"),
        ("%REQ%", "%REQ%"),
        ("%DURATION(x)%", "%DURATION%"),
        ("%GRPC_STATUS(LOUD)%", "'LOUD'"),
        ("%METADATA(LISTENER:a:b)%", "'LISTENER:a:b'"),
        ("%COMMON_DURATION(DS_RX_BEG)%", "'DS_RX_BEG'"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:h)%", "DS_TX_END:h"),
        ("%RESPONSE_CODE_DETAILS(x)%", "'x'"),
        ("%START_TIME(%Q)%", "'%Q'"),
        ("%CEL(1 +)%", "1 +"),
    ],
)
def test_what_nobody_can_fill_in_is_refused_by_name(site, text, word):
    with pytest.raises(ConfigError) as refused:
        compile_text(text, site.whereabouts)
    assert word in str(refused.value)
    with pytest.raises(ConfigError, match=r"json_format\.a\.b\[0\]"):
        compile_json(Struct((("a", Struct((("b", (text,)),))),)), site.whereabouts)


@pytest.mark.parametrize("value", [True, None])
def test_json_has_texts_numbers_and_what_is_made_of_them(site, value):
    with pytest.raises(ConfigError, match=r"json_format\.a"):
        compile_json(Struct((("a", value),)), site.whereabouts)


def test_envoys_and_istios_own_formats_are_formats(said, site, call):
    event = call()
    assert said(ENVOY_FORMAT, event) == (
        '[2023-11-14T22:13:20.000Z] "GET /books?page=2 HTTP/1.1" 200 - 0 0 250 - "-" "curl/8" '
        '"0000000a-0000-4000-8000-000000000000" "books:9080" "-"\n'
    )
    assert said(ISTIO_FORMAT, event) == (
        '[2023-11-14T22:13:20.000Z] "GET /books?page=2 HTTP/1.1" 200 - direct_response - '
        '"-" 0 0 250 - "-" "curl/8" "0000000a-0000-4000-8000-000000000000" "books:9080" '
        '"-" - - - - - -\n'
    )
    told = json.loads(compile_json(ISTIO_JSON, site.whereabouts)(event))
    assert list(told) == sorted(told)
    assert told["response_code"] == 200
    assert told["route_name"] is None


@given(st.text("%RESP(QAB):1C{}\n", max_size=40))
def test_any_text_is_a_format_or_is_refused(text):
    with suppress(FormatError):
        parts = parse_log_format(text)
        assert all(isinstance(part, str) or part.name in KNOWN for part in parts)


@given(st.sampled_from(sorted(KNOWN)), st.text(max_size=20))
def test_any_argument_is_taken_or_refused(name, argument):
    with suppress(FormatError):
        parts = parse_log_format(f"%{name}({argument})%")
        assert isinstance(parts[0], Operator)


def test_whoever_logs_a_secret_is_told_so(caplog, tmp_path):
    text = "%REQ(Authorization)% %RESP(SET-COOKIE?x)% %REQ(user-agent)%"
    assert secrets_in(text) == ("authorization", "set-cookie")
    with caplog.at_level(logging.WARNING):
        compile_log(AccessLog(name="mine", config=FileAccessLog(path=str(tmp_path), text=text)))
    assert caplog.messages == [
        "access log mine: it tells the value of authorization",
        "access log mine: it tells the value of set-cookie",
    ]


def test_the_environment_asks_for_a_log():
    assert default_log({}) is None
    path = {"MESHLIB_ACCESS_LOG": "/dev/stdout"}

    def config(said):
        return default_log(path | {"MESHLIB_ACCESS_LOG_FORMAT": said}).config

    assert config("") == config("text") == FileAccessLog(path="/dev/stdout", text=ISTIO_FORMAT)
    assert config("JSON") == FileAccessLog(path="/dev/stdout", json=ISTIO_JSON)
    assert config("%DURATION%").text == "%DURATION%\n"
    assert config('{"b": "%DURATION%", "a": [1]}').json == Struct(
        (("a", (1.0,)), ("b", "%DURATION%"))
    )
    for none in ("{", "jsno", "%REQ(x%", "%NOBODY%", '{"a": ["%NOBODY%"]}', "%CEL(1 +)%"):
        with pytest.raises(ConfigError, match=r"^MESHLIB_ACCESS_LOG_FORMAT: "):
            config(none)


@pytest.mark.parametrize("word", ["on", "Off", "true", "0"])
def test_a_switch_is_no_path_of_a_log(word):
    with pytest.raises(ConfigError, match="such as /dev/stdout"):
        default_log({"MESHLIB_ACCESS_LOG": word})


def test_the_trace_of_a_call_that_is_traced_is_written_as_in_its_headers(said, call):
    propagation = Propagation(tracing=Tracer(TracerProvider()))
    meter = Meter()
    request = Request("reviews:9080", "GET", "/", meter=meter)
    propagation.begin(request)
    trace_id = propagation.attempt(Send(request, None, None))[0][1].split("-")[1]
    assert said("%TRACE_ID%", call(Response(200), meter=meter)) == trace_id
