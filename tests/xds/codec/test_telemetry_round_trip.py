"""Each kind of log, filter and tag goes over the wire and comes back."""

from dataclasses import replace
from math import nan

import pytest

from meshlib.errors import ConfigError
from meshlib.model import Exact, HeaderMatcher, HttpConnectionManager, Listener, Rds, Struct
from meshlib.model.matcher import RuntimeFraction
from meshlib.model.telemetry import (
    AccessLog,
    AndFilter,
    Comparison,
    CustomTag,
    DurationFilter,
    EnvironmentTag,
    ExpressionFilter,
    FileAccessLog,
    FormatterTag,
    GrpcStatusFilter,
    HeaderFilter,
    HeaderTag,
    LiteralTag,
    NotHealthCheckFilter,
    OpenTelemetryAccessLog,
    OpenTelemetryTracer,
    OrFilter,
    ResponseFlagFilter,
    RuntimeFilter,
    StatusCodeFilter,
    TraceableFilter,
    Tracing,
)
from meshlib.xds.codec import decode, encode, encode_json

FILE = FileAccessLog(path="/x")
BARE = Listener(name="reviews:80", http=HttpConnectionManager(routes=Rds("reviews")))


def back(**http):
    """What comes back, and what of it was not understood."""
    packed = encode(replace(BARE, http=replace(BARE.http, **http)))
    decoded = decode(packed.type_url, packed.value)
    return decoded.resource.http, decoded.ignored


@pytest.mark.parametrize(
    "condition",
    [
        StatusCodeFilter(comparison=Comparison.NE, value=200),
        StatusCodeFilter(comparison=Comparison.EQ, value=0, runtime_key="code"),
        DurationFilter(comparison=Comparison.LE, value=5),
        NotHealthCheckFilter(),
        TraceableFilter(),
        RuntimeFilter(fraction=RuntimeFraction(numerator=1)),
        RuntimeFilter(
            fraction=RuntimeFraction(numerator=1, denominator=10_000, runtime_key="share"),
            use_independent_randomness=True,
        ),
        HeaderFilter(HeaderMatcher(name="x", match=Exact("a"))),
        ResponseFlagFilter(),
        ResponseFlagFilter(("UH", "UF")),
        GrpcStatusFilter(statuses=(0, 16), exclude=True),
        ExpressionFilter("response.code > 1"),
        AndFilter((TraceableFilter(), OrFilter((NotHealthCheckFilter(), TraceableFilter())))),
    ],
    ids=lambda condition: type(condition).__name__,
)
def test_a_filter_of_each_kind_comes_back(condition):
    log = AccessLog(name="log", config=FILE, filter=condition)
    assert back(access_log=(log,)) == (replace(BARE.http, access_log=(log,)), ())


@pytest.mark.parametrize(
    "sink",
    [
        FILE,
        FileAccessLog(path="/x", text="%DURATION%\n", omit_empty_values=True),
        FileAccessLog(path="/x", json=Struct()),
        FileAccessLog(path="/x", json=Struct((("a", Struct((("b", "%CEL(request.host)%"),))),))),
        OpenTelemetryAccessLog(cluster="otel"),
        OpenTelemetryAccessLog(
            cluster="otel",
            log_name="calls",
            body="%REQ_WITHOUT_QUERY(:PATH)%",
            attributes=Struct(
                (
                    ("a", None),
                    ("b", True),
                    ("c", "text"),
                    ("d", (1.5, ("x",))),
                    ("e", Struct((("f", "%METADATA(ROUTE:a)%"),))),
                )
            ),
        ),
    ],
)
def test_a_log_of_each_kind_comes_back(sink):
    log = AccessLog(name="log", config=sink)
    made, ignored = back(access_log=(log,))
    assert made == replace(BARE.http, access_log=(log,))
    goes_elsewhere = isinstance(sink, OpenTelemetryAccessLog)
    assert [path.endswith("grpc_service") for path in ignored] == [True] * goes_elsewhere


@pytest.mark.parametrize(
    "tracer",
    [
        None,
        OpenTelemetryTracer(cluster="otel", service_name="reviews", timeout=1.5),
        OpenTelemetryTracer(cluster="otel", uri="http://otel/v1/traces"),
    ],
)
def test_tracing_comes_back(tracer):
    tracing = Tracing(
        client_sampling=1.0,
        random_sampling=0.01,
        overall_sampling=0.0,
        verbose=True,
        max_path_tag_length=0,
        custom_tags=(
            CustomTag(tag="a", source=LiteralTag(value="x")),
            CustomTag(tag="b", source=EnvironmentTag(name="E", default_value="x")),
            CustomTag(tag="c", source=HeaderTag(name="h")),
            CustomTag(tag="d", source=FormatterTag(value="%DURATION%")),
        ),
        tracer=tracer,
        spawn_upstream_span=True,
    )
    made, ignored = back(tracing=tracing)
    assert made == replace(BARE.http, tracing=tracing)
    told = {path.rpartition(".")[2] for path in ignored}
    assert told == {"verbose", "spawn_upstream_span"} | ({"provider"} if tracer else set())


def test_envoy_is_told_of_the_operators_that_it_knows_by_extension():
    text = "%CEL(request.host)% %REQ_WITHOUT_QUERY(:PATH)% %METADATA(ROUTE:a)% %DURATION%"
    log = AccessLog(name="log", config=FileAccessLog(path="/x", text=text))
    made = encode_json(replace(BARE, http=replace(BARE.http, access_log=(log,))))
    [config] = made["api_listener"]["api_listener"]["access_log"]
    formatters = config["typed_config"]["log_format"]["formatters"]
    assert [one["name"] for one in formatters] == [
        "envoy.formatter.cel",
        "envoy.formatter.metadata",
        "envoy.formatter.req_without_query",
    ]


def test_a_condition_that_nobody_here_can_judge_is_told():
    log = AccessLog(name="log", config=FILE, filter=ExpressionFilter("node.id == 'a'"))
    _, ignored = back(access_log=(log,))
    assert [path.rpartition(".")[2] for path in ignored] == ["expression"]


def test_a_number_that_is_none_is_refused():
    log = AccessLog(name="log", config=FileAccessLog(path="/x", json=Struct((("a", nan),))))
    with pytest.raises(ConfigError, match="json_format: numbers must be finite"):
        back(access_log=(log,))
