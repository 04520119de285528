"""Manifests that are refused: every problem at once, each with its place."""

import pytest
import yaml

from meshlib.controlplane import load_documents, load_files
from meshlib.errors import ConfigError

HEAD = """\
apiVersion: {group}/v1
kind: {kind}
metadata: {{name: x}}
spec:
"""


def manifest(kind, spec, group="networking.istio.io"):
    return HEAD.format(group=group, kind=kind) + "".join(
        f"  {line}\n" for line in spec.splitlines()
    )


def test_every_problem_of_a_manifest_is_reported(problems_of):
    text = manifest(
        "VirtualService",
        """\
hosts: [reviews]
http:
  - rout: []
    timeout: fast
  - match: [{uri: {prefix: /}, hedders: {}}]
    route: [{destination: {host: 5}, weight: -1}]""",
    )
    assert [(code, place) for code, place, _ in problems_of(text)] == [
        ("ML0106", "a.yaml:7:7"),
        ("ML0106", "a.yaml:8:16"),
        ("ML0106", "a.yaml:9:34"),
        ("ML0106", "a.yaml:10:36"),
        ("ML0106", "a.yaml:10:48"),
    ]


@pytest.mark.parametrize(
    "change, said",
    [
        ('set: {"a b": c}', "'a b' is no name of a header"),
        ('add: {"": c}', "'' is no name of a header"),
        ('remove: ["a:"]', "'a:' is no name of a header"),
        ('set: {a: "b\\r\\nc: d"}', "control character"),
        ('set: {":path": /}', "':path' cannot be changed"),
    ],
)
def test_headers_that_no_call_could_carry_are_refused(problems_of, change, said):
    rule = f"hosts: [x]\nhttp: [{{headers: {{request: {{{change}}}}}, redirect: {{}}}}]"
    ((_, _, what),) = problems_of(manifest("VirtualService", rule))
    assert said in what


def test_problems_of_every_file_are_reported(tmp_path):
    (tmp_path / "a.yaml").write_text("kind: [}")
    (tmp_path / "b.yml").write_text(manifest("DestinationRule", "hots: x"))
    (tmp_path / "c.json").write_text('{"kind": "Gatewy", "apiVersion": "networking.istio.io/v1"}')
    (tmp_path / "d.txt").write_text("not ours")
    with pytest.raises(ConfigError) as refused:
        load_files([tmp_path])
    assert [p.where.removeprefix(f"{tmp_path}/") for p in refused.value.problems] == [
        "a.yaml:1:8",
        "b.yml:5:3",
        "b.yml:5:3",
        "c.json:1:10",
    ]


@pytest.mark.parametrize(
    "field, hint",
    [("timeot", "did you mean 'timeout'?"), ("faul", "did you mean 'fault'?"), ("zzzz", "")],
)
def test_an_unknown_field_gets_a_hint(field, hint):
    route = {"directResponse": {"status": 200}, field: 1}
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "x"},
        "spec": {"hosts": ["x"], "http": [route]},
    }
    with pytest.raises(ConfigError) as refused:
        load_documents([document])
    (problem,) = refused.value.problems
    assert problem.where == f"<config>[0]: spec.http[0].{field}"
    assert f"unknown field '{field}'" in problem.what
    assert hint in problem.what


@pytest.mark.parametrize(
    "kind, spec, why",
    [
        ("VirtualService", "gateways: [g]\nhttp: [{directResponse: {status: 200}}]", "no gateways"),
        ("VirtualService", "http: [{delegate: {name: x}}]", "cannot delegate further"),
        ("VirtualService", "hosts: [x]", "http is missing"),
        ("VirtualService", "hosts: [x]\nhttp: [{}]", "route, redirect, directResponse or delegate"),
        ("VirtualService", "hosts: ['a*']\nhttp: [{redirect: {}}]", "may only stand first"),
        ("VirtualService", "hosts: [x]\nhttp: [{redirect: {redirectCode: 200}}]", "no"),
        (
            "VirtualService",
            "hosts: [x]\nhttp: [{redirect: {}, directResponse: {status: 200}}]",
            "exclude each other",
        ),
        (
            "VirtualService",
            "hosts: [x]\nhttp: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]",
            "sum up to 0",
        ),
        (
            "VirtualService",
            """\
hosts: [x]
http: [{route: [{destination: {host: a}, weight: 4294967295}, {destination: {host: b}, weight: 1}]}]
""",
            "sum up to 4294967296, more than 4294967295",
        ),
        (
            "VirtualService",
            "hosts: [x]\nhttp: [{route: [{destination: {host: a}}], retries: {retryOn: 5xy}}]",
            "'5xy' is no retry condition",
        ),
        (
            "VirtualService",
            "hosts: [x]\nhttp: [{match: [{uri: {}}], redirect: {}}]",
            "exact, prefix or regex is missing",
        ),
        ("VirtualService", "hosts: [x]\nhttp: [{redirect: {}, timeout: 5}]", "expected a text"),
        ("DestinationRule", "host: x\ntrafficPolicy: {loadBalancer: {simple: RR}}", "'RR'"),
        ("DestinationRule", "host: x\nsubsets: [{name: a}, {name: a}]", "exists already"),
        (
            "DestinationRule",
            "host: x\ntrafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}",
            "<= 100",
        ),
        ("ServiceEntry", "hosts: [x.y]\nresolution: STATIC\nendpoints: [{address: a.b}]", "no IP"),
        ("ServiceEntry", "hosts: x.y", "expected a list, got 'x.y'"),
        ("WorkloadEntry", "address: 10.0.0.1\nlabels: {version: 1}", "put it in quotes"),
        ("WorkloadEntry", "[]", "expected a mapping, got a list"),
    ],
)
def test_what_makes_no_sense_is_refused(kind, spec, why):
    document = yaml.safe_load(manifest(kind, spec))
    with pytest.raises(ConfigError, match=f"^<config>\\[0\\]: spec.*{why.replace('?', '.')}"):
        load_documents([document])


@pytest.mark.parametrize(
    "kind, spec",
    [
        ("VirtualService", "hosts: [x]\nhttp: [{redirect: {}}]\ntcp: []"),
        ("VirtualService", "hosts: [x]\nhttp: [{redirect: {}}]\ntls: []"),
        (
            "VirtualService",
            "hosts: [x]\nhttp: [{redirect: {}, fault: {abort: {httpStatus: 503, http2Error: X}}}]",
        ),
        (
            "VirtualService",
            (
                "hosts: [x]\nhttp: [{redirect: {}, "
                "fault: {delay: {fixedDelay: 1s, exponentialDelay: 1s}}}]"
            ),
        ),
        ("DestinationRule", "host: x\ntrafficPolicy: {tunnel: {}}"),
        ("DestinationRule", "host: x\ntrafficPolicy: {proxyProtocol: {}}"),
        ("WorkloadEntry", "address: unix:///run/x"),
    ],
)
def test_what_is_not_supported_yet_is_refused_by_name(problems_of, kind, spec):
    (problem,) = problems_of(manifest(kind, spec))
    assert problem[0] == "ML0105"
    assert "is not supported yet" in problem[2]


@pytest.mark.parametrize(
    "spec, said",
    [
        ("rules: [{from: [{source: {prinicpals: [x]}}]}]", "unknown field 'prinicpals'"),
        ("rules: [{when: [{key: request.header, values: [x]}]}]", "unknown key 'request.header'"),
        ("action: DENY", "DENY without rules matches nothing"),
        ("action: CUSTOM\nrules: [{}]", "CUSTOM needs provider.name"),
        ("rules: [{to: [{operation: {ports: [http]}}]}]", "'http' is not a port"),
    ],
)
def test_a_policy_that_cannot_be_enforced_is_refused(problems_of, spec, said):
    text = manifest("AuthorizationPolicy", spec, "security.istio.io")
    ((_, place, message),) = problems_of(text)
    assert said in message
    assert place.startswith("a.yaml:")


def test_a_regex_that_re2_refuses_is_refused(problems_of):
    text = manifest(
        "VirtualService",
        "hosts: [x]\nhttp:\n  - match: [{uri: {regex: '(?<=a)b'}}]\n    redirect: {}",
    )
    ((code, place, _),) = problems_of(text)
    assert (code, place) == ("ML0180", "a.yaml:7:29")


def test_one_name_stands_for_one_manifest(problems_of):
    text = manifest("DestinationRule", "host: x.y")
    assert problems_of(text, text) == [
        ("ML0106", "b.yaml:1:1", "stands twice, first at a.yaml:1:1")
    ]


@pytest.mark.parametrize(
    "text, why",
    [
        ("a: 1", "kind is missing"),
        ("- a", "a mapping"),
        ("kind: Service\nmetadata: {name: x}\nspec: {}", "no apiVersion"),
        ("apiVersion: v2\nkind: Service\nmetadata: {name: x}\nspec: {}", "'v2' has no Service"),
        ("apiVersion: v1\nkind: Service\nspec: {}", "name is missing"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: x}", "spec is missing"),
        ("apiVersion: v1\nkind: Servise\nmetadata: {name: x}", "unknown kind 'Servise'"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspecs: {}", "unknown field 'specs'"),
    ],
)
def test_a_document_that_is_no_manifest_is_refused(problems_of, text, why):
    assert any(why in message for _, _, message in problems_of(text))


def test_lists_are_unfolded_with_their_places(problems_of):
    text = "apiVersion: v1\nkind: List\nitems:\n  - kind: Service\n    apiVersion: v9\n"
    ((_, place, _),) = problems_of(text)
    assert place == "a.yaml:5:17"


def test_a_field_without_a_value_is_unset(world_of):
    world = world_of(manifest("DestinationRule", "host: x.y\nsubsets:\ntrafficPolicy: ~"))
    assert world.destination_rules[0].spec.subsets == ()


def test_the_mesh_config_of_a_config_map_is_read(world_of):
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: |\n"
        "    outboundTrafficPolicy:\n      mode: REGISTRY_ONLY\n"
    )
    assert world_of(text).mesh_config.outbound_traffic_policy == "REGISTRY_ONLY"


def test_what_stands_in_hidden_folders_is_not_read(tmp_path):
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "a.yaml").write_text("kind: [")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text(manifest("DestinationRule", "host: x.y"))
    assert len(load_files([tmp_path]).destination_rules) == 1


def test_a_file_that_is_not_there_is_a_problem(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.yaml: No such file"):
        load_files([tmp_path / "gone.yaml"])


CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, annotations: {by: "Jürgen"}}
data:
  mesh: |-

      accessLogEncoding: JSON
      defaultConfig:
          tracing:
              sampling: 200
      trustDomian: x
"""


def test_what_is_wrong_in_a_config_map_is_told_where_it_stands(problems_of):
    assert sorted(problem[1:] for problem in problems_of(CONFIG_MAP)) == [
        ("a.yaml:10:25", "defaultConfig.tracing.sampling: expected float <= 100.0"),
        ("a.yaml:11:7", "trustDomian: unknown field 'trustDomian'"),
    ]


def test_what_is_wrong_in_a_folded_text_is_told_where_that_begins(problems_of):
    text = CONFIG_MAP.replace("mesh: |-", "mesh: >-")
    assert {place for _, place, _ in problems_of(text)} == {"a.yaml:5:9"}


def test_the_mesh_config_of_a_cluster_is_read_and_what_is_for_proxies_is_told(world_of):
    world = world_of("""\
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |-
    accessLogFile: /dev/stdout
    defaultConfig:
      discoveryAddress: istiod.istio-system.svc:15012
      proxy_metadata: {}
      tracing: {max_path_tag_length: 12, custom_tags: {a_b: {literal: {value: x}}}}
    enablePrometheusMerge: true
    rootNamespace: null
    trustDomain: cluster.local
  meshNetworks: 'networks: {}'
""")
    told = [(one.severity, str(one.place).rpartition("/")[2]) for one in world.remarks]
    assert told == [("info", "a.yaml:11:5"), ("info", "a.yaml:8:7"), ("info", "a.yaml:9:7")]
    tracing = world.mesh_config.tracing
    assert (tracing.max_path_tag_length, list(tracing.custom_tags)) == (12, ["a_b"])
    assert world.mesh_config.access_log_file == "/dev/stdout"


def test_fields_of_other_kinds_have_no_underscores(problems_of):
    ((_, _, message),) = problems_of(manifest("DestinationRule", "host: x.y\ntraffic_policy: {}"))
    assert "unknown field 'traffic_policy'" in message


def test_of_an_operator_the_mesh_config_is_read(world_of):
    world = world_of("""\
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
spec:
  profile: demo
  meshConfig:
    enableTracing: true
    h2UpgradePolicy: UPGRADE
""")
    assert world.mesh_config.tracing is not None
    ((place, message),) = [(one.place.line, one.message) for one in world.remarks]
    assert (place, message) == (4, "spec.profile: is not read: nothing is installed")
    assert world.mesh_manifest.place_of("h2UpgradePolicy").line == 7


PASSED_BY = """\
kind: MeshConfig
inboundTrafficPolicy: {mode: PASSTHROUGH}
verifyCertificateAtClient: true
enableEnvoyAccessLogService: false
serviceSettings: []
defaultConfig:
  zipkinAddress: zipkin:9411
  parentShutdownDuration: 60s
  tracing: {zipkin: {address: zipkin:9411}, tlsSettings: {mode: SIMPLE}}
"""


def test_fields_that_do_no_harm_do_not_refuse_the_mesh_config(world_of):
    remarks = [(one.severity, one.place.line) for one in world_of(PASSED_BY).remarks]
    assert sorted(remarks) == [("info", line) for line in (2, 3, 4, 5, 7, 8, 9)]


@pytest.mark.parametrize("field", ["ca", "caCertificates", "tlsDefaults", "serviceEntryVisibility"])
def test_fields_that_somebody_relies_on_refuse_it(problems_of, field):
    ((_, place, message),) = problems_of(f"kind: MeshConfig\n{field}: {{}}\n")
    assert (place, message) == ("a.yaml:2:1", f"{field}: {field} is not supported yet")
