"""Hypothesis strategies for access logs, tracing and metrics."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import RuntimeFraction, Value
from meshlib.model.telemetry import (
    RESPONSE_FLAGS,
    AccessLog,
    AccessLogFilter,
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
    MetricOverride,
    NotHealthCheckFilter,
    OpenTelemetryAccessLog,
    OpenTelemetryTracer,
    OrFilter,
    ResponseFlagFilter,
    RuntimeFilter,
    Stats,
    StatusCodeFilter,
    TraceableFilter,
    Tracing,
)

from .basics import DENOMINATOR, NAME, TEXT, UINT32, optional, seconds, some, structs
from .matchers import header_matchers

EXPRESSION = st.sampled_from(
    ["true", "response.code >= 400", "'x-user' in request.headers", "request.duration > 'x'"]
)
RUNTIME_KEY = st.just("") | NAME.map("key.{}".format)
SHARE = st.floats(0, 100)
LOG_TEXT = st.lists(
    TEXT.map(lambda text: text.replace("%", "%%"))
    | st.sampled_from(["%REQ(x-user)%", "%RESPONSE_CODE%", "%START_TIME%", "%DURATION%"])
    | st.sampled_from(["%CEL(request.host)%", "%REQ_WITHOUT_QUERY(:PATH)%", "%METADATA(ROUTE:a)%"]),
    max_size=3,
).map("".join)


def access_log_filters() -> SearchStrategy[AccessLogFilter]:
    compared = {
        "comparison": st.sampled_from(Comparison),
        "value": UINT32,
        "runtime_key": RUNTIME_KEY,
    }
    fraction = st.builds(
        RuntimeFraction, numerator=UINT32, denominator=DENOMINATOR, runtime_key=RUNTIME_KEY
    )
    plain: SearchStrategy[AccessLogFilter] = st.one_of(
        st.builds(StatusCodeFilter, **compared),
        st.builds(DurationFilter, **compared),
        st.just(NotHealthCheckFilter()),
        st.just(TraceableFilter()),
        st.builds(RuntimeFilter, fraction=fraction, use_independent_randomness=st.booleans()),
        st.builds(HeaderFilter, header_matchers()),
        st.builds(ResponseFlagFilter, some(st.sampled_from(RESPONSE_FLAGS))),
        st.builds(GrpcStatusFilter, statuses=some(st.integers(0, 16)), exclude=st.booleans()),
        st.builds(ExpressionFilter, EXPRESSION),
    )
    return st.recursive(
        plain,
        lambda inner: st.builds(AndFilter, some(inner)) | st.builds(OrFilter, some(inner)),
        max_leaves=3,
    )


def access_logs() -> SearchStrategy[AccessLog]:
    held: SearchStrategy[Value] = LOG_TEXT | st.booleans() | structs(LOG_TEXT)
    template = structs(held)
    sink = st.one_of(
        st.builds(FileAccessLog, path=NAME),
        st.builds(
            FileAccessLog,
            path=NAME,
            text=LOG_TEXT.map("a{}".format),
            omit_empty_values=st.booleans(),
        ),
        st.builds(FileAccessLog, path=NAME, json=template, omit_empty_values=st.booleans()),
        st.builds(
            OpenTelemetryAccessLog,
            cluster=NAME,
            log_name=TEXT,
            body=LOG_TEXT,
            attributes=optional(template),
        ),
    )
    return st.builds(AccessLog, name=TEXT, config=sink, filter=optional(access_log_filters()))


def custom_tags() -> SearchStrategy[tuple[CustomTag, ...]]:
    named = {"name": NAME, "default_value": TEXT}
    source = st.one_of(
        st.builds(LiteralTag, value=NAME),
        st.builds(EnvironmentTag, **named),
        st.builds(HeaderTag, **named),
        st.builds(FormatterTag, value=LOG_TEXT),
    )
    return some(st.builds(CustomTag, tag=NAME, source=source))


def tracings() -> SearchStrategy[Tracing]:
    tracer = st.builds(OpenTelemetryTracer, cluster=NAME, service_name=TEXT, timeout=seconds())
    by_http = st.builds(
        OpenTelemetryTracer, cluster=NAME, service_name=TEXT, uri=NAME, timeout=seconds()
    )
    return st.builds(
        Tracing,
        client_sampling=SHARE,
        random_sampling=SHARE,
        overall_sampling=SHARE,
        verbose=st.booleans(),
        max_path_tag_length=UINT32,
        custom_tags=custom_tags(),
        tracer=optional(tracer | by_http),
        spawn_upstream_span=st.booleans(),
    )


def stats() -> SearchStrategy[Stats]:
    dimensions = st.dictionaries(NAME, EXPRESSION, max_size=2)
    override = st.builds(
        MetricOverride,
        name=TEXT,
        drop=st.booleans(),
        dimensions=dimensions.map(lambda held: tuple(sorted(held.items()))),
        tags_to_remove=some(NAME),
    )
    return st.builds(
        Stats,
        metrics=some(override),
        disable_host_header_fallback=st.booleans(),
        reporting_interval=seconds(),
    )
