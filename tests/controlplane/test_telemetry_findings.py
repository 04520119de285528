"""What is said of Telemetries, and of whom the MeshConfig has told of calls."""

import pytest

from meshlib.controlplane.findings import errors_of, findings_of

OTEL = """\
apiVersion: v1
kind: Service
metadata: {name: otel}
spec: {selector: {app: otel}, ports: [{name: grpc, port: 4317}]}
"""
PROVIDERS = """\
---
apiVersion: mesh.istio.io/v1
kind: MeshConfig
extensionProviders:
- {name: otlp, opentelemetry: {service: otel.default.svc.cluster.local, port: 4317}}
- {name: old, zipkin: {service: zipkin.example, port: 9411}}
- {name: als, envoyHttpAls: {service: als.example, port: 1}}
"""
ELSEWHERE = "those of members go where the program sends them"


def telemetry(spec, name="t", namespace="default"):
    return f"""\
---
apiVersion: telemetry.istio.io/v1alpha1
kind: Telemetry
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def mesh(fields):
    return f"---\napiVersion: mesh.istio.io/v1\nkind: MeshConfig\n{fields}\n"


@pytest.fixture
def said(world_of):
    """Code, severity, line and text of each finding."""

    def of(*texts):
        found = findings_of(world_of(OTEL + "".join(texts)))
        return [(one.code, one.severity, one.place.line, one.message) for one in found]

    return of


def only(found):
    [(code, severity, _, text)] = found
    return code, severity, text


@pytest.mark.parametrize(
    "spec",
    [
        "{tracing: [{providers: [{name: otlp}], randomSamplingPercentage: 1}]}",
        "{metrics: [{providers: [{name: prometheus}], overrides: [{disabled: true}]}]}",
        "{accessLogging: [{providers: [{name: envoy}], filter: {expression: response.code > 1}}]}",
    ],
)
def test_what_does_as_it_seems_to_is_not_spoken_of(said, spec):
    plain = PROVIDERS.partition("- {name: old")[0]
    assert [one for one in said(plain, telemetry(spec)) if ELSEWHERE not in one[3]] == []


def test_members_send_where_their_program_sends(said):
    service = "service: otel.default.svc.cluster.local, port: 4317"
    a, b = f"{{name: a, opentelemetry: {{{service}}}}}", f"{{name: b, envoyOtelAls: {{{service}}}}}"
    found = said(mesh(f"extensionProviders: [{a}, {b}]"))
    assert [(code, severity) for code, severity, *_ in found] == [("ML1001", "info")] * 2
    assert [text.split()[4] for *_, text in found] == ["spans:", "records:"]
    assert all(ELSEWHERE in text for *_, text in found)


def test_a_metric_that_nobody_counts_is_told_with_the_name_that_was_meant(world_of):
    spec = "{metrics: [{overrides: [{match: {customMetric: NAME}, disabled: true}]}]}"
    (told,) = findings_of(world_of(telemetry(spec.replace("NAME", "istio_request_total"))))
    assert (told.code, told.severity) == ("ML1001", "warning")
    assert "no metric 'istio_request_total' is counted here" in told.message
    assert told.hint == "did you mean 'requests_total'?"
    assert not findings_of(world_of(telemetry(spec.replace("NAME", "requests_total"))))


@pytest.mark.parametrize("kind", ["tracing", "metrics", "accessLogging"])
def test_a_provider_that_nobody_knows_is_told_with_its_place(said, kind):
    spec = f"{{{kind}: [{{providers: [{{name: nobody}}]}}]}}"
    [(code, severity, line, text)] = said(telemetry(spec))
    assert (code, severity, line) == ("ML0157", "warning", 9)
    assert "no extensionProvider 'nobody' is in the MeshConfig" in text


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("{tracing: [{providers: [{name: old}]}]}", "'old' is a provider of no spans"),
        ("{metrics: [{providers: [{name: otlp}]}]}", "'otlp' is a provider of no metrics"),
        ("{accessLogging: [{providers: [{name: als}]}]}", "'als' is a provider of no access logs"),
    ],
)
def test_a_provider_of_another_kind_is_told(said, spec, text):
    found = [one for one in said(PROVIDERS, telemetry(spec)) if text in one[3]]
    assert [(code, severity) for code, severity, *_ in found] == [("ML1001", "warning")]


@pytest.mark.parametrize(
    "spec",
    [
        "{accessLogging: [{filter: {expression: 'response.code >'}}]}",
        "{accessLogging: [{filter: {expression: responce.code > 1}}]}",
        "{metrics: [{overrides: [{tagOverrides: {a: {value: no such}}}]}]}",
    ],
)
def test_an_expression_that_is_none_is_refused_with_its_place(world_of, spec):
    world = world_of(telemetry(spec))
    [error] = errors_of(world)
    assert "the expression" in error.what
    assert ":5:" in error.where


def test_what_nobody_here_can_tell_is_told(said):
    spec = "{metrics: [{overrides: [{tagOverrides: {a: {value: filter_state.a}}}]}]}"
    assert only(said(telemetry(spec))) == (
        "ML1001",
        "warning",
        "nobody here can tell 'filter_state': it is always \"unknown\"",
    )


def test_several_for_the_same_workloads_are_told(said):
    found = said(
        telemetry("{}", "a"),
        telemetry("{}", "b"),
        telemetry("{}", "c", "other"),
        telemetry("{selector: {matchLabels: {app: x}}}", "d"),
    )
    code, severity, text = only(found)
    assert (code, severity) == ("ML0160", "warning")
    assert "Telemetry default/a" in text


def test_those_that_share_some_workloads_are_told(said):
    entry = """\
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1, labels: {app: reviews, version: v1}}
spec: {address: 10.0.0.1, labels: {app: reviews, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  workloadSelector: {labels: {app: reviews}}
"""
    found = said(
        entry,
        telemetry("{selector: {matchLabels: {app: reviews}}}", "app"),
        telemetry("{selector: {matchLabels: {version: v1}}}", "version"),
        telemetry("{selector: {matchLabels: {app: reviews, tier: front}}}", "tier"),
        telemetry("{selector: {matchLabels: {app: ratings}}}", "ratings"),
        telemetry("{selector: {matchLabels: {app: reviews}}}", "app", "other"),
    )
    assert [(code, severity) for code, severity, *_ in found] == [("ML0159", "warning")] * 2
    (*_, of_version), (*_, of_tier) = found
    assert "Telemetry default/app" in of_version
    assert of_version.endswith("that counts for app=reviews,version=v1")
    assert of_tier.endswith("that counts for app=reviews,tier=front")


SELECTS = "{selector: {matchLabels: {app: reviews}}}"


def test_a_selector_in_the_root_namespace_that_chooses_nobody_is_told(said):
    code, severity, text = only(said(telemetry(SELECTS, namespace="istio-system")))
    assert (code, severity) == ("ML1001", "warning")
    assert "chooses workloads of the namespace istio-system alone" in text


def test_a_selector_in_a_root_namespace_with_workloads_is_not_spoken_of(said):
    assert said(mesh("rootNamespace: default"), telemetry(SELECTS)) == []


def test_what_becomes_of_what_was_for_a_provider_that_nobody_knows_is_told(said):
    kinds = {
        "tracing": "spans go where the program itself sends them",
        "metrics": "no metric is changed for it",
        "accessLogging": "no line is written for it",
    }
    for kind, instead in kinds.items():
        _, _, text = only(said(telemetry(f"{{{kind}: [{{providers: [{{name: nobody}}]}}]}}")))
        assert text.endswith(instead)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("{targetRefs: [{kind: Gateway, name: a}]}", "is for gateways and waypoints alone"),
        ("{targetRef: {kind: Gateway, name: a}}", "is for gateways and waypoints alone"),
        ("{tracing: [{useRequestIdForTraceSampling: false}]}", "the id of the trace decides"),
        ("{tracing: [{disableContextPropagation: true}]}", "is handed on in any case"),
        ("{metrics: [{reportingInterval: 5s}]}", "counted when they end"),
        (
            "{metrics: [{overrides: [{match: {metric: TCP_SENT_BYTES}}]}]}",
            "TCP_SENT_BYTES is not counted here",
        ),
    ],
)
def test_what_has_no_effect_is_told(said, spec, text):
    code, _, told = only(said(telemetry(spec)))
    assert code == "ML1001"
    assert text in told


def test_the_first_of_several_tracers_alone_counts(said):
    spec = "{tracing: [{providers: [{name: otlp}, {name: otlp}]}]}"
    texts = [text for *_, text in said(PROVIDERS, telemetry(spec))]
    assert "the first provider alone counts" in texts


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ("defaultProviders: {tracing: [nobody]}", "ML0157", "no extensionProvider 'nobody'"),
        ("defaultConfig: {tracing: {zipkin: {address: a}}}", "ML1001", "zipkin has no effect"),
        (
            "extensionProviders: [{name: a, skywalking: {service: a, port: 1}}]",
            "ML1001",
            "providers of kind skywalking are not told anything here",
        ),
        (
            "extensionProviders: [{name: a, opentelemetry: {service: a/nobody, port: 1}}]",
            "ML0101",
            "no service nobody:1 is known",
        ),
        (
            "accessLogFile: a\naccessLogFormat: '%REQ(Authorization)%'",
            "ML1012",
            "shows the header authorization",
        ),
        ("accessLogEncoding: JSON", "ML1001", "has no effect without accessLogFile"),
        ("accessLogFormat: '%PROTOCOL%'", "ML1001", "has no effect without accessLogFile"),
        (
            (
                "extensionProviders: [{name: a, envoyFileAccessLog: {path: a, "
                "logFormat: {labels: {a: [{b: '%REQ(cookie)%'}]}}}}]"
            ),
            "ML1012",
            "shows the header cookie",
        ),
    ],
)
def test_whom_the_mesh_has_told_is_looked_at(said, fields, code, text):
    found, _, told = only(said(mesh(fields)))
    assert found == code
    assert text in told


def test_what_a_collector_is_told_in_vain_is_named(said):
    fields = "resourceDetectors: {environment: {}}, dynatraceSampler: {tenant: a}"
    service = "service: otel.default.svc.cluster.local, port: 4317"
    found = said(mesh(f"extensionProviders: [{{name: a, opentelemetry: {{{service}, {fields}}}}}]"))
    assert [text for *_, text in found if ELSEWHERE not in text] == [
        "resourceDetectors has no effect",
        "dynatraceSampler has no effect",
    ]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ("accessLogFormat: '%NO_SUCH%'", "NO_SUCH"),
        ("accessLogEncoding: JSON\naccessLogFormat: 'a'", "is not a JSON object"),
        ('accessLogEncoding: JSON\naccessLogFormat: \'{"a": "%NO_SUCH%"}\'', "NO_SUCH"),
        ("extensionProviders: [{name: a}]", "exactly one kind of provider is needed"),
        (
            "extensionProviders: [{name: a, prometheus: {}, zipkin: {}}]",
            "exactly one kind of provider is needed",
        ),
        (
            (
                "extensionProviders: [{name: a, envoyFileAccessLog: {path: a, logFormat: "
                "{text: a, labels: {}}}}]"
            ),
            "only one of text and labels may be set",
        ),
        (
            (
                "extensionProviders: [{name: a, opentelemetry: {service: a, port: 1, "
                "http: {path: a}, grpc: {}}}]"
            ),
            "only one of http and grpc may be set",
        ),
    ],
)
def test_whom_nobody_can_tell_is_refused(world_of, fields, text):
    from meshlib.errors import ConfigError

    with pytest.raises(ConfigError, match=text):
        world_of(OTEL + mesh(fields))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("{tracing: [{customTags: {a: {}}}]}", "exactly one of literal"),
        (
            "{tracing: [{customTags: {a: {formatter: {value: '%NO_SUCH%'}}}}]}",
            "NO_SUCH",
        ),
        ("{tracing: [{randomSamplingPercentage: 101}]}", "randomSamplingPercentage"),
        (
            "{metrics: [{overrides: [{match: {metric: REQUEST_SIZE, customMetric: a}}]}]}",
            "at most one of metric and customMetric",
        ),
        (
            "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: A, name: b}]}",
            "only one of selector, targetRef and targetRefs",
        ),
    ],
)
def test_a_telemetry_that_means_nothing_is_refused(world_of, spec, text):
    from meshlib.errors import ConfigError

    with pytest.raises(ConfigError, match=text):
        world_of(telemetry(spec))


UNFILLED = """\
accessLogFile: a
accessLogFormat: '{"a%b": "%UNIQUE_ID%"}'
accessLogEncoding: JSON
defaultConfig: {tracing: {customTags: {a: {formatter: {value: '%FILTER_STATE(a)%'}}}}}
extensionProviders:
- {name: a, envoyFileAccessLog: {path: a, logFormat: {labels: {b: '%PATH%'}}}}
"""


def test_what_is_never_filled_in_is_told(said):
    spec = "{tracing: [{customTags: {c: {formatter: {value: '%EMIT_TIME%'}}}}]}"
    found = said(mesh(UNFILLED), telemetry(spec))
    assert {(code, severity) for code, severity, *_ in found} == {("ML1001", "info")}
    names = {text.partition(" ")[0] for *_, text in found}
    assert names == {"%UNIQUE_ID%", "%FILTER_STATE%", "%PATH%", "%EMIT_TIME%"}


def test_a_form_of_lines_is_for_the_provider_envoy_too(said):
    asked = telemetry("{accessLogging: [{providers: [{name: envoy}]}]}")
    assert said(mesh("accessLogEncoding: JSON"), asked) == []
