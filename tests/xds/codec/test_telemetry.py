"""Access logs and tracing on the wire: in every word that control planes have."""

import pytest

from meshlib.errors import ConfigError
from meshlib.model import Struct
from meshlib.model.route import RouteTracing
from meshlib.model.telemetry import (
    AccessLog,
    Comparison,
    CustomTag,
    ExpressionFilter,
    FileAccessLog,
    HeaderTag,
    LiteralTag,
    NotHealthCheckFilter,
    OpenTelemetryAccessLog,
    OpenTelemetryTracer,
    OrFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
    Tracing,
)

GOOGLE = "type.googleapis.com"
LOGGERS = f"{GOOGLE}/envoy.extensions.access_loggers"
FILE = f"{LOGGERS}.file.v3.FileAccessLog"
CEL = f"{LOGGERS}.filters.cel.v3.ExpressionFilter"
QUERY = f"{GOOGLE}/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"
TRACERS = f"{GOOGLE}/envoy.config.trace.v3"
WHERE = "listeners/reviews:80: api_listener.api_listener."
ROUTER = {
    "name": "router",
    "typed_config": {"@type": f"{GOOGLE}/envoy.extensions.filters.http.router.v3.Router"},
}


@pytest.fixture
def decode_log(decode_http):
    """What becomes of a log with this configuration, and what is told to be ignored."""

    def made(config, **log):
        decoded = decode_http(access_log=[{"name": "log", "typed_config": config, **log}])
        ignored = tuple(path.removeprefix("api_listener.api_listener.") for path in decoded.ignored)
        return decoded.resource.http.access_log, ignored

    return made


def a_file(**fields):
    return (AccessLog(name="log", config=FileAccessLog(path="/x", **fields)),)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"format": "%DURATION%"}, {"text": "%DURATION%"}),
        ({"json_format": {"b": "%DURATION%", "a": "x"}}, "json"),
        ({"typed_json_format": {"b": "%DURATION%", "a": "x"}}, "json"),
        ({"log_format": {"json_format": {"b": "%DURATION%", "a": "x"}}}, "json"),
        ({"log_format": {"text_format": "%DURATION%"}}, {"text": "%DURATION%"}),
        (
            {
                "log_format": {
                    "text_format_source": {"inline_string": "a"},
                    "omit_empty_values": True,
                }
            },
            {"text": "a", "omit_empty_values": True},
        ),
    ],
)
def test_a_file_has_its_format_in_old_words_and_new(decode_log, fields, expected):
    if expected == "json":
        expected = {"json": Struct((("a", "x"), ("b", "%DURATION%")))}
    logs, ignored = decode_log({"@type": FILE, "path": "/x", **fields})
    assert logs == a_file(**expected)
    assert ignored == ()


@pytest.mark.parametrize("stream", ["Stdout", "Stderr"])
def test_streams_of_the_program_are_files(decode_log, stream):
    logs, _ = decode_log({"@type": f"{LOGGERS}.stream.v3.{stream}AccessLog"})
    assert logs[0].config == FileAccessLog(path=f"/dev/{stream.lower()}")


def test_known_operators_need_no_formatter_and_others_are_told(decode_log):
    formatters = [
        {"name": "query", "typed_config": {"@type": QUERY}},
        {"name": "envoy.formatter.something"},
    ]
    said = {"text_format_source": {"inline_string": "a"}, "formatters": formatters}
    logs, ignored = decode_log({"@type": FILE, "path": "/x", "log_format": said})
    assert logs == a_file(text="a")
    assert ignored == (
        "access_log[0].typed_config.log_format.formatters[envoy.formatter.something]",
    )


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"@type": FILE}, "typed_config.path: must not be empty"),
        ({"@type": FILE, "path": "/x", "format": "%NO_SUCH%"}, "typed_config.format: "),
        (
            {"@type": FILE, "path": "/x", "format": "%CEL(a +)%"},
            "typed_config.format: %CEL(a +)% is not a valid CEL expression",
        ),
        (
            {"@type": FILE, "path": "/x", "log_format": {"json_format": {"a": {"b": "%REQ%"}}}},
            "typed_config.log_format.json_format.a.b: ",
        ),
        (
            {
                "@type": FILE,
                "path": "/x",
                "log_format": {"text_format_source": {"filename": "/f"}},
            },
            "typed_config.log_format.text_format_source.filename: is not supported",
        ),
        (
            {"@type": FILE, "path": "/x", "log_format": {"omit_empty_values": True}},
            "typed_config.log_format.text_format_source: no format is given",
        ),
    ],
)
def test_a_log_that_cannot_be_written_is_refused(decode_log, config, why):
    with pytest.raises(ConfigError) as refused:
        decode_log(config)
    assert f"{WHERE}access_log[0].{why}" in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"format": "%FILTER_STATE(a)% %UNIQUE_ID%"}, "format"),
        ({"json_format": {"a": "%FILTER_STATE(a)% %UNIQUE_ID%"}}, "json_format.a"),
    ],
)
def test_a_log_with_what_only_a_proxy_knows_is_written_and_told(decode_log, fields, where):
    logs, ignored = decode_log({"@type": FILE, "path": "/x", **fields})
    assert len(logs) == 1
    path = f"access_log[0].typed_config.{where}"
    assert ignored == (f"{path}[FILTER_STATE]", f"{path}[UNIQUE_ID]")


def test_a_kind_of_log_that_is_not_written_here_is_told(decode_log):
    config = {"@type": f"{LOGGERS}.grpc.v3.HttpGrpcAccessLogConfig"}
    assert decode_log(config) == ((), ("access_log[0]",))


def test_log_records_go_to_a_cluster(decode_log):
    config = {
        "@type": f"{LOGGERS}.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        "common_config": {
            "log_name": "calls",
            "grpc_service": {"envoy_grpc": {"cluster_name": "otel"}},
            "transport_api_version": "V3",
        },
        "body": {"string_value": "%REQ(:METHOD)%"},
        "attributes": {
            "values": [
                {"key": "z", "value": {"int_value": "3"}},
                {"key": "a", "value": {"string_value": "%DURATION%"}},
                {"key": "l", "value": {"array_value": {"values": [{"bool_value": True}]}}},
            ]
        },
    }
    logs, ignored = decode_log(config)
    attributes = Struct((("a", "%DURATION%"), ("l", (True,)), ("z", 3.0)))
    assert logs[0].config == OpenTelemetryAccessLog(
        cluster="otel", log_name="calls", body="%REQ(:METHOD)%", attributes=attributes
    )
    assert ignored == ("access_log[0].typed_config.common_config.grpc_service",)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"double_value": "NaN"}, "numbers must be finite"),
        ({"bytes_value": "YQ=="}, "bytes_value is not supported"),
        ({"string_value": "%NO_SUCH%"}, "NO_SUCH"),
    ],
)
def test_an_attribute_that_cannot_be_told_is_refused(decode_log, value, why):
    config = {
        "@type": f"{LOGGERS}.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        "common_config": {"grpc_service": {"envoy_grpc": {"cluster_name": "otel"}}},
        "attributes": {"values": [{"key": "a", "value": value}]},
    }
    with pytest.raises(ConfigError, match=why):
        decode_log(config)


def test_a_logger_without_a_cluster_of_the_mesh_is_refused(decode_log):
    kind = f"{LOGGERS}.open_telemetry.v3.OpenTelemetryAccessLogConfig"
    with pytest.raises(ConfigError, match="no service is given"):
        decode_log({"@type": kind})


def test_flags_that_no_call_has_are_told(decode_log):
    asked = {"response_flag_filter": {"flags": ["UF", "SI", "NFCF", "LH"]}}
    logs, ignored = decode_log({"@type": FILE, "path": "/x"}, filter=asked)
    assert logs[0].filter == ResponseFlagFilter(("UF", "SI", "NFCF", "LH"))
    where = "access_log[0].filter.response_flag_filter"
    assert ignored == (f"{where}.flags[SI]", f"{where}.flags[LH]")


def test_filters_say_which_calls_have_lines(decode_log):
    comparison = {"op": "GE", "value": {"default_value": 400, "runtime_key": "my.key"}}
    expression = {"@type": CEL, "expression": "response.code == 0"}
    either = {
        "filters": [
            {"status_code_filter": {"comparison": comparison}},
            {"not_health_check_filter": {}},
            {"extension_filter": {"name": "cel", "typed_config": expression}},
        ]
    }
    logs, ignored = decode_log({"@type": FILE, "path": "/x"}, filter={"or_filter": either})
    assert logs[0].filter == OrFilter(
        (
            StatusCodeFilter(comparison=Comparison.GE, value=400, runtime_key="my.key"),
            NotHealthCheckFilter(),
            ExpressionFilter("response.code == 0"),
        )
    )
    assert ignored == ()


@pytest.mark.parametrize(
    "asked",
    [
        {"metadata_filter": {}},
        {"and_filter": {"filters": [{"traceable_filter": {}}, {"log_type_filter": {}}]}},
        {"or_filter": {"filters": [{"log_type_filter": {}}]}},
        {"extension_filter": {"name": "x", "typed_config": {"@type": FILE}}},
    ],
)
def test_a_log_of_calls_that_cannot_be_told_apart_is_left_out_and_told(decode_log, asked):
    logs, ignored = decode_log({"@type": FILE, "path": "/x"}, filter=asked)
    assert logs == ()
    assert "access_log[0]" in ignored


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({}, "no filter is given"),
        ({"response_flag_filter": {"flags": ["XX"]}}, "'XX' is no response flag"),
        ({"grpc_status_filter": {"statuses": [17]}}, "17 is no status of gRPC"),
        (
            {
                "extension_filter": {
                    "name": "cel",
                    "typed_config": {"@type": CEL, "expression": "a +"},
                }
            },
            "is not a valid CEL expression",
        ),
    ],
)
def test_a_filter_that_means_nothing_is_refused(decode_log, asked, why):
    with pytest.raises(ConfigError, match=why):
        decode_log({"@type": FILE, "path": "/x"}, filter=asked)


def test_tracing_is_everything_where_nothing_is_said(decode_http):
    assert decode_http(tracing={}).resource.http.tracing == Tracing()
    assert decode_http().resource.http.tracing is None


def test_tracing_has_shares_tags_and_a_collector(decode_http):
    tracer = {
        "@type": f"{TRACERS}.OpenTelemetryConfig",
        "grpc_service": {"envoy_grpc": {"cluster_name": "otel"}, "timeout": "2s"},
        "service_name": "reviews",
    }
    tag = {"tag": "user", "request_header": {"name": "x-user", "default_value": "nobody"}}
    decoded = decode_http(
        tracing={
            "random_sampling": {"value": 1},
            "custom_tags": [tag],
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": tracer},
        }
    )
    assert decoded.resource.http.tracing == Tracing(
        random_sampling=1.0,
        custom_tags=(
            CustomTag(tag="user", source=HeaderTag(name="x-user", default_value="nobody")),
        ),
        tracer=OpenTelemetryTracer(cluster="otel", service_name="reviews", timeout=2.0),
    )
    assert decoded.ignored == ("api_listener.api_listener.tracing.provider",)


def test_a_route_names_its_spans_and_has_tags_of_its_own(decode_route):
    tag = {"tag": "team", "literal": {"value": "books"}}
    decoded = decode_route(
        non_forwarding_action={},
        decorator={"operation": "getReviews"},
        tracing={"custom_tags": [tag], "random_sampling": {"numerator": 1}},
    )
    (host,) = decoded.resource.virtual_hosts
    (route,) = host.routes
    tags = (CustomTag(tag="team", source=LiteralTag(value="books")),)
    assert route.tracing == RouteTracing(operation="getReviews", custom_tags=tags)
    (ignored,) = decoded.ignored
    assert ignored.endswith("tracing.random_sampling")


def test_a_collector_may_be_asked_by_http(decode_http):
    uri = {"uri": "http://otel:4318/v1/traces", "cluster": "otel", "timeout": "1s"}
    tracer = {
        "@type": f"{TRACERS}.OpenTelemetryConfig",
        "http_service": {"http_uri": uri},
    }
    provider = {"name": "t", "typed_config": tracer}
    made = decode_http(tracing={"provider": provider}).resource.http.tracing.tracer
    assert made == OpenTelemetryTracer(
        cluster="otel", uri="http://otel:4318/v1/traces", timeout=1.0
    )


@pytest.mark.parametrize(
    ("tracing", "ignored"),
    [
        (
            {"provider": {"name": "x", "typed_config": {"@type": FILE}}},
            "tracing.provider",
        ),
        (
            {
                "provider": {
                    "name": "x",
                    "typed_config": {"@type": f"{TRACERS}.OpenTelemetryConfig"},
                }
            },
            "tracing.provider",
        ),
        (
            {"custom_tags": [{"tag": "a", "metadata": {"kind": {"host": {}}}}]},
            "tracing.custom_tags[a].metadata",
        ),
        ({"operation": "x"}, "tracing.operation"),
    ],
)
def test_what_traces_cannot_have_is_told(decode_http, tracing, ignored):
    decoded = decode_http(tracing=tracing)
    assert decoded.resource.http.tracing == Tracing()
    assert decoded.ignored == (f"api_listener.api_listener.{ignored}",)


def test_a_tag_that_is_never_filled_in_is_told(decode_http):
    decoded = decode_http(tracing={"custom_tags": [{"tag": "a", "value": "%UNIQUE_ID%"}]})
    where = "api_listener.api_listener.tracing.custom_tags[a].value[UNIQUE_ID]"
    assert decoded.ignored == (where,)


@pytest.mark.parametrize("field", ["verbose", "spawn_upstream_span"])
def test_what_spans_are_in_any_case_is_told(decode_http, field):
    decoded = decode_http(tracing={field: True})
    assert decoded.resource.http.tracing == Tracing(**{field: True})
    assert decoded.ignored == (f"api_listener.api_listener.tracing.{field}",)


@pytest.mark.parametrize(
    ("tracing", "why"),
    [
        ({"random_sampling": {"value": 101}}, "must be between 0 and 100"),
        ({"custom_tags": [{"tag": "a"}]}, "says nothing"),
        (
            {
                "provider": {
                    "name": "t",
                    "typed_config": {
                        "@type": f"{TRACERS}.OpenTelemetryConfig",
                        "grpc_service": {"google_grpc": {"target_uri": "a", "stat_prefix": "b"}},
                    },
                }
            },
            "google_grpc: is not supported",
        ),
        ({"custom_tags": [{"tag": "a", "value": "%NO_SUCH%"}]}, "NO_SUCH"),
        ({"custom_tags": [{"literal": {"value": "a"}}]}, "tag: must not be empty"),
    ],
)
def test_tracing_that_means_nothing_is_refused(decode_http, tracing, why):
    with pytest.raises(ConfigError, match=why):
        decode_http(tracing=tracing)


def test_a_log_of_connections_is_told(decode_listener):
    hcm = {
        "@type": f"{GOOGLE}/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "rds": {
            "route_config_name": "x",
            "config_source": {"ads": {}, "resource_api_version": "V3"},
        },
        "http_filters": [ROUTER],
    }
    decoded = decode_listener(
        api_listener={"api_listener": hcm},
        access_log=[{"name": "log", "typed_config": {"@type": FILE, "path": "/x"}}],
    )
    assert decoded.ignored == ("access_log",)
