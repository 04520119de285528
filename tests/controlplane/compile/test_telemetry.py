"""Telemetries and the MeshConfig: what the listeners of a member tell of its calls."""

import pytest

from meshlib.controlplane import Scope, compile_snapshot
from meshlib.controlplane.node import ClientKind
from meshlib.controlplane.profiles import adapt
from meshlib.controlplane.scope import Sidecar
from meshlib.model import Struct
from meshlib.model.log_format import ISTIO_FORMAT, ISTIO_JSON
from meshlib.model.telemetry import (
    AccessLog,
    CustomTag,
    EnvironmentTag,
    ExpressionFilter,
    FileAccessLog,
    FormatterTag,
    HeaderTag,
    LiteralTag,
    MetricOverride,
    OpenTelemetryAccessLog,
    OpenTelemetryTracer,
    Stats,
    Tracing,
)

SERVICES = """\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: otel}
spec: {selector: {app: otel}, ports: [{name: grpc, port: 4317}]}
"""
ME = Scope(labels=(("app", "reviews"), ("version", "v1")))
OTEL = "outbound|4317||otel.default.svc.cluster.local"
STANDARD_OUT = FileAccessLog(path="/dev/stdout", text=ISTIO_FORMAT)
FILE = "envoy.access_loggers.file"


def telemetry(spec, name="t", namespace="default"):
    return f"""\
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def mesh(fields):
    return f"---\napiVersion: mesh.istio.io/v1\nkind: MeshConfig\n{fields}\n"


@pytest.fixture
def snapshot_of(world_of):
    def compiled(*texts, scope=ME):
        made = compile_snapshot(world_of(SERVICES + "".join(texts)), scope)
        made.check()
        return made

    return compiled


@pytest.fixture
def told(snapshot_of):
    """What is told of calls out, or of calls in: logs, tracing, stats."""

    def of(*texts, side="CLIENT", scope=ME):
        listeners = snapshot_of(*texts, scope=scope).listeners
        listener = listeners.get("reviews:80" if side == "CLIENT" else "inbound")
        if listener is None:
            return (), None, None
        configs = [one.config for one in listener.http.http_filters]
        stats = next((one for one in configs if isinstance(one, Stats)), None)
        return listener.http.access_log, listener.http.tracing, stats

    return of


@pytest.fixture
def logs(told):
    return lambda *texts, **how: [log.config for log in told(*texts, **how)[0]]


@pytest.fixture
def tracing(told):
    return lambda *texts, **how: told(*texts, **how)[1]


@pytest.fixture
def stats(told):
    return lambda *texts, **how: told(*texts, **how)[2]


def test_where_nobody_speaks_of_it_nothing_is_told(told):
    assert told() == told(side="SERVER") == ((), None, None)


# --- access logs ---


def test_the_mesh_may_have_all_calls_logged(logs):
    said = mesh("accessLogFile: /dev/stdout")
    assert logs(said) == logs(said, side="SERVER") == [STANDARD_OUT]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("accessLogFormat: 'x %DURATION%'", {"text": "x %DURATION%\n"}),
        ("accessLogEncoding: JSON", {"json": ISTIO_JSON}),
        (
            """accessLogFormat: '{"b": "x", "a": {"c": [1, true]}}'\naccessLogEncoding: JSON""",
            {"json": Struct((("a", Struct((("c", (1.0, True)),))), ("b", "x")))},
        ),
    ],
)
def test_a_line_has_the_form_that_the_mesh_says(logs, fields, expected):
    assert logs(mesh(f"accessLogFile: /x\n{fields}")) == [FileAccessLog(path="/x", **expected)]


def test_a_telemetry_speaks_of_logs_in_the_place_of_the_mesh(logs):
    said = mesh("accessLogFile: /x")
    one = telemetry("{accessLogging: [{match: {mode: SERVER}, providers: [{name: envoy}]}]}")
    assert logs(said, one) == []
    assert logs(said, one, side="SERVER") == [STANDARD_OUT]


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("", {"path": "/dev/stdout", "json": ISTIO_JSON}),
        ("{name: envoy, envoyFileAccessLog: {path: /y}}", {"path": "/y", "json": ISTIO_JSON}),
        (
            "{name: envoy, envoyFileAccessLog: {path: /y, logFormat: {text: a}}}",
            {"path": "/y", "text": "a\n"},
        ),
        (
            "{name: envoy, envoyFileAccessLog: {path: /y, omitEmptyValues: true}}",
            {"path": "/y", "text": ISTIO_FORMAT, "omit_empty_values": True},
        ),
    ],
)
def test_the_provider_of_the_name_envoy_writes_as_the_mesh_says(logs, provider, expected):
    said = mesh(f"accessLogEncoding: JSON\nextensionProviders: [{provider}]")
    one = telemetry("{accessLogging: [{providers: [{name: envoy}]}]}")
    assert logs(said, one) == [FileAccessLog(**expected)]


def test_providers_of_other_names_write_as_they_say_themselves(logs):
    said = mesh(
        "accessLogEncoding: JSON\nextensionProviders: [{name: y, envoyFileAccessLog: {path: /y}}]"
    )
    one = telemetry("{accessLogging: [{providers: [{name: y}]}]}")
    assert logs(said, one) == [FileAccessLog(path="/y", text=ISTIO_FORMAT)]


def test_a_filter_says_which_calls_have_lines(told):
    rule = "{providers: [{name: envoy}], filter: {expression: response.code >= 400}}"
    only = ExpressionFilter("response.code >= 400")
    log = AccessLog(name=FILE, config=STANDARD_OUT, filter=only)
    assert told(telemetry(f"{{accessLogging: [{rule}]}}"))[0] == (log,)


def test_each_side_has_its_own_filter(told):
    rules = ", ".join(
        f"{{match: {{mode: {mode}}}, providers: [{{name: envoy}}], filter: {{expression: {said}}}}}"
        for mode, said in (("CLIENT", "'true'"), ("SERVER", "'false'"))
    )
    said = telemetry(f"{{accessLogging: [{rules}]}}")
    assert told(said)[0][0].filter == ExpressionFilter("true")
    assert told(said, side="SERVER")[0][0].filter == ExpressionFilter("false")


def test_the_workload_has_the_last_word(logs):
    root = telemetry("{accessLogging: [{providers: [{name: envoy}]}]}", "root", "istio-system")
    space = telemetry("{accessLogging: [{disabled: true}]}", "space")
    own = telemetry(
        "{selector: {matchLabels: {app: reviews}}, accessLogging: [{disabled: false}]}", "own"
    )
    other = telemetry(
        "{selector: {matchLabels: {app: x}}, accessLogging: [{providers: [{name: envoy}]}]}", "x"
    )
    assert logs(root) == [STANDARD_OUT]
    assert logs(root, space) == []
    assert logs(root, space, other) == []
    assert logs(root, space, own) == [STANDARD_OUT]
    assert logs(root, space, own, scope=Scope(namespace="istio-system")) == []


def test_of_several_at_one_level_the_first_counts(logs):
    one = telemetry("{accessLogging: [{providers: [{name: envoy}]}]}", "a")
    assert logs(one, telemetry("{accessLogging: [{disabled: true}]}", "b")) == [STANDARD_OUT]


def test_who_disables_logs_disables_those_of_the_environment_too(snapshot_of):
    def off(*texts):
        listeners = snapshot_of(*texts).listeners
        return {
            side: [
                one.wants_no_logs for name, one in listeners.items() if (name == "inbound") is is_in
            ]
            for side, is_in in (("out", False), ("in", True))
        }

    disabled = telemetry("{accessLogging: [{disabled: true}]}", "root", "istio-system")
    again = telemetry("{accessLogging: [{disabled: false}]}", "own")
    client = telemetry("{accessLogging: [{match: {mode: CLIENT}, disabled: true}]}")
    assert not any(off()["out"] + off(disabled, again)["out"])
    assert all(off(disabled)["out"])
    assert all(off(client)["out"])
    assert not any(off(client)["in"])


def test_providers_of_a_level_take_the_place_of_the_outer_ones(logs):
    said = mesh("""\
extensionProviders:
- {name: mine, envoyFileAccessLog: {path: /mine, logFormat: {text: a}, omitEmptyValues: true}}
- {name: json, envoyFileAccessLog: {path: /json, logFormat: {labels: {a: '%DURATION%'}}}}
- {name: otlp, envoyOtelAls: {service: otel.default.svc.cluster.local, port: 4317}}
- {name: nobody, envoyOtelAls: {service: nobody.example, port: 1}}
- {name: grpc, envoyHttpAls: {service: a, port: 1}}
defaultProviders: {accessLogging: [Envoy]}
""")
    assert logs(said) == [STANDARD_OUT]
    names = "mine, json, otlp, nobody, grpc, unknown"
    listed = ", ".join(f"{{name: {name}}}" for name in names.split(", "))
    assert logs(said, telemetry(f"{{accessLogging: [{{providers: [{listed}]}}]}}")) == [
        FileAccessLog(path="/json", json=Struct((("a", "%DURATION%"),))),
        FileAccessLog(path="/mine", text="a\n", omit_empty_values=True),
        OpenTelemetryAccessLog(cluster=OTEL, log_name="otel_envoy_accesslog", body=ISTIO_FORMAT),
    ]


# --- traces ---

ISTIO_TAGS = tuple(
    CustomTag(tag=f"istio.{tag}", source=LiteralTag(value=value))
    for tag, value in (
        ("canonical_revision", "v1"),
        ("canonical_service", "reviews"),
        ("mesh_id", "cluster.local"),
        ("namespace", "default"),
    )
)
PROVIDERS = """\
extensionProviders:
- {name: otlp, opentelemetry: {service: otel.default.svc.cluster.local, port: 4317}}
- name: http
  opentelemetry:
    service: default/otel.default.svc.cluster.local
    port: 4317
    maxTagLength: 99
    http: {path: v1/traces, timeout: 2s}
- {name: zipkin, zipkin: {service: a, port: 1}}
- {name: nobody, opentelemetry: {service: nobody.example, port: 1}}
"""
TRACER = OpenTelemetryTracer(cluster=OTEL, service_name="reviews.default")


def test_a_telemetry_without_provider_says_how_many_calls_have_spans(tracing):
    said = telemetry("{tracing: [{randomSamplingPercentage: 54.54}]}")
    assert tracing(said) == Tracing(random_sampling=54.54, custom_tags=ISTIO_TAGS)


def test_a_mesh_may_have_another_id_than_its_trust_domain(tracing):
    said = telemetry("{tracing: [{randomSamplingPercentage: 1}]}")
    made = tracing(mesh("defaultConfig: {meshId: paris}"), said)
    assert CustomTag(tag="istio.mesh_id", source=LiteralTag(value="paris")) in made.custom_tags


def test_a_provider_is_who_gets_the_spans(tracing):
    made = tracing(mesh(PROVIDERS), telemetry("{tracing: [{providers: [{name: otlp}]}]}"))
    assert made == Tracing(random_sampling=1.0, custom_tags=ISTIO_TAGS, tracer=TRACER)


def test_a_provider_may_be_told_by_http(tracing):
    made = tracing(mesh(PROVIDERS), telemetry("{tracing: [{providers: [{name: http}]}]}"))
    assert made.max_path_tag_length == 99
    uri = "http://otel.default.svc.cluster.local:4317/v1/traces"
    assert made.tracer == OpenTelemetryTracer(
        cluster=OTEL, service_name="reviews.default", uri=uri, timeout=2.0
    )


@pytest.mark.parametrize("name", ["zipkin", "nobody", "unknown"])
def test_without_a_collector_spans_go_where_the_program_sends_them(tracing, name):
    made = tracing(mesh(PROVIDERS), telemetry(f"{{tracing: [{{providers: [{{name: {name}}}]}}]}}"))
    assert made.tracer is None


def test_default_providers_have_calls_traced(tracing):
    made = tracing(mesh(PROVIDERS + "defaultProviders: {tracing: [otlp]}"), side="SERVER")
    assert made.tracer == TRACER
    assert made.random_sampling == 1.0


def test_spans_are_switched_off(tracing):
    root = telemetry("{tracing: [{randomSamplingPercentage: 100}]}", "root", "istio-system")
    off = telemetry("{tracing: [{match: {mode: CLIENT}, disableSpanReporting: true}]}")
    assert tracing(root, off).overall_sampling == 0
    assert tracing(root, off, side="SERVER").random_sampling == 100


def test_tags_are_of_four_kinds(tracing):
    tags = """{d: {literal: {value: a}}, c: {environment: {name: E, defaultValue: b}}, \
b: {header: {name: X-User}}, a: {formatter: {value: '%DURATION%'}}}"""
    said = telemetry(f"{{tracing: [{{enableIstioTags: false, customTags: {tags}}}]}}")
    assert tracing(said).custom_tags == (
        CustomTag(tag="a", source=FormatterTag(value="%DURATION%")),
        CustomTag(tag="b", source=HeaderTag(name="x-user")),
        CustomTag(tag="c", source=EnvironmentTag(name="E", default_value="b")),
        CustomTag(tag="d", source=LiteralTag(value="a")),
    )


def test_the_mesh_says_how_calls_are_traced_where_no_telemetry_does(tracing):
    fields = "{sampling: 10, maxPathTagLength: 50, customTags: {a: {literal: {value: b}}}}"
    said = mesh(f"defaultConfig: {{tracing: {fields}}}")
    tag = CustomTag(tag="a", source=LiteralTag(value="b"))
    made = Tracing(random_sampling=10.0, max_path_tag_length=50, custom_tags=(*ISTIO_TAGS, tag))
    assert tracing(said) == made
    assert tracing(mesh(f"enableTracing: false\ndefaultConfig: {{tracing: {fields}}}")) is None
    assert tracing(mesh("enableTracing: true")).random_sampling == 1.0
    assert tracing(said, telemetry("{tracing: [{randomSamplingPercentage: 0}]}")).custom_tags == (
        *ISTIO_TAGS,
        tag,
    )


# --- metrics ---


def override(fields, mode="CLIENT_AND_SERVER", metric="ALL_METRICS"):
    return f"{{match: {{metric: {metric}, mode: {mode}}}, {fields}}}"


def metrics(*overrides, extra=""):
    return f"{{metrics: [{{{extra}overrides: [{', '.join(overrides)}]}}]}}"


def test_labels_of_one_metric_are_added_and_removed_on_one_side(stats):
    tags = "tagOverrides: {path: {value: request.url_path}, source_app: {operation: REMOVE}}"
    said = telemetry(metrics(override(tags, "SERVER", "REQUEST_COUNT")))
    one = MetricOverride(
        name="requests_total",
        dimensions=(("path", "request.url_path"),),
        tags_to_remove=("source_app",),
    )
    assert stats(said, side="SERVER") == Stats(metrics=(one,))
    assert stats(said) is None


def test_what_holds_for_all_metrics_is_said_once(stats):
    said = telemetry(metrics("{tagOverrides: {a: {value: request.host}}}"))
    one = MetricOverride(dimensions=(("a", "request.host"),))
    assert stats(said) == Stats(metrics=(one,))


def test_one_metric_is_dropped_and_the_others_have_their_label(stats):
    said = telemetry(
        metrics(
            "{tagOverrides: {a: {value: request.host}}}",
            override("disabled: true", metric="REQUEST_SIZE"),
        )
    )
    made = {one.name: one.drop for one in stats(said).metrics}
    assert len(made) == 6
    assert [name for name, drop in made.items() if drop] == ["request_bytes"]


def test_all_metrics_are_switched_off_and_on_again(stats):
    root = telemetry(metrics(override("disabled: true")), "root", "istio-system")
    on = telemetry(metrics(override("disabled: false", metric="REQUEST_COUNT")))
    assert stats(root) == Stats(metrics=(MetricOverride(drop=True),))
    assert stats(root, on) is None


def test_only_what_is_counted_here_is_spoken_of(stats):
    tcp = override("disabled: true", metric="TCP_SENT_BYTES")
    assert stats(telemetry(metrics(tcp))) is None
    other = metrics(override("disabled: true"), extra="providers: [{name: other}], ")
    assert stats(telemetry(other)) is None


def test_a_metric_is_named_by_itself_and_told_every_so_often(stats):
    one = "{match: {customMetric: my_total}, disabled: true}"
    said = telemetry(metrics(one, extra="reportingInterval: 7s, "))
    made = MetricOverride(name="my_total", drop=True)
    assert stats(said) == Stats(metrics=(made,), reporting_interval=7.0)


# --- listeners and clients ---

ALL = telemetry(
    "{accessLogging: [{providers: [{name: envoy}]}], tracing: [{providers: [{name: otlp}]}], "
    "metrics: [{overrides: [{tagOverrides: {a: {value: request.host}}}]}]}"
)


def test_the_router_stays_the_last(snapshot_of):
    for listener in snapshot_of(mesh(PROVIDERS), ALL).listeners.values():
        names = [one.name for one in listener.http.http_filters]
        assert names[-1] == "envoy.filters.http.router"
        assert "istio.stats" in names


def test_envoy_is_told_what_it_can_do_and_not_what_it_would_refuse(snapshot_of):
    scope = Scope(labels=ME.labels, sidecar=Sidecar(inbound_address="10.0.0.1"))
    downgrades = []
    made = adapt(
        snapshot_of(mesh(PROVIDERS), ALL, scope=scope), ClientKind.ENVOY, downgrades.append
    )
    assert {name.partition("_")[0] for name in made.listeners} == {"127.0.0.1", "inbound"}
    for listener in made.listeners.values():
        assert "istio.stats" not in [one.name for one in listener.http.http_filters]
        assert listener.http.access_log == (AccessLog(name=FILE, config=STANDARD_OUT),)
        assert listener.http.tracing is not None
        assert listener.http.tracing.tracer == TRACER
    assert any("Istio's metrics" in one.what for one in downgrades)


def test_an_envoy_without_a_collector_makes_no_spans(snapshot_of):
    scope = Scope(labels=ME.labels, sidecar=Sidecar())
    downgrades = []
    said = telemetry("{tracing: [{randomSamplingPercentage: 5}]}")
    made = adapt(snapshot_of(said, scope=scope), ClientKind.ENVOY, downgrades.append)
    assert {listener.http.tracing for listener in made.listeners.values()} == {None}
    assert {one.what for one in downgrades} == {
        "without an opentelemetry provider Envoy makes no spans"
    }
    downgrades.clear()
    off = telemetry("{tracing: [{disableSpanReporting: true}]}")
    adapt(snapshot_of(off, scope=scope), ClientKind.ENVOY, downgrades.append)
    assert downgrades == []


def test_grpc_clients_are_told_nothing_of_it(snapshot_of):
    downgrades = []
    made = adapt(snapshot_of(mesh(PROVIDERS), ALL), ClientKind.GRPC, downgrades.append)
    http = made.listeners["reviews:80"].http
    assert (http.access_log, http.tracing) == ((), None)
    assert [one.name for one in http.http_filters] == ["envoy.filters.http.router"]
    said = [one.what for one in downgrades if one.resource == "listeners/reviews:80"]
    assert said == ["without effect for gRPC clients: access_log, tracing"]


def test_meshlib_gets_all(snapshot_of):
    made = snapshot_of(mesh(PROVIDERS), ALL)
    assert adapt(made, ClientKind.MESHLIB, lambda _: None) is made
