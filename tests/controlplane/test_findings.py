"""What is said about a world before anybody runs on it."""

import pytest

from meshlib.controlplane import Scope, analyze, compile_snapshot, errors_of, findings_of

MESH = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-1}
spec: {address: 10.0.0.1, labels: {app: reviews, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
"""


def rules(http, name="rules", extra=""):
    lines = "".join(f"    {line}\n" for line in http.splitlines())
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [reviews]
  http:
{lines}{extra}"""


def found(world):
    return [(f.code, f.severity, str(f.place)) for f in findings_of(world)]


GOOD = rules("- route: [{destination: {host: reviews, subset: v1}}]")


def test_a_sound_mesh_gives_nothing_to_say(world_of):
    assert found(world_of(MESH, GOOD)) == []


@pytest.mark.parametrize(
    "http, expected",
    [
        ("- route: [{destination: {host: revews}}]", [("ML0101", "error", "b.yaml:7:36")]),
        (
            "- route: [{destination: {host: reviews, port: {number: 81}}}]",
            [("ML0101", "error", "b.yaml:7:60")],
        ),
        (
            "- route: [{destination: {host: reviews, subset: v9}}]",
            [("ML0107", "error", "b.yaml:7:53")],
        ),
        (
            (
                "- route: [{destination: {host: reviews}, weight: 1}, "
                "{destination: {host: reviews, subset: v1}, weight: 2}]"
            ),
            [("ML0110", "warning", "b.yaml:7:14")],
        ),
        (
            "- route: [{destination: {host: reviews}, weight: 50}]",
            [("ML0110", "warning", "b.yaml:7:14")],
        ),
        ("- route: [{destination: {host: reviews}, weight: 100}]", []),
        ("- redirect: {}\n- redirect: {}", [("ML0130", "warning", "b.yaml:8:7")]),
        (
            (
                "- retries: {attempts: 1, retryOn: 'reset,http3-post-connect-failure,503'}\n"
                "  route: [{destination: {host: reviews}}]"
            ),
            [("ML1001", "info", "b.yaml:7:39")],
        ),
        (
            "- {match: [{uri: {prefix: /}}], redirect: {}}\n- redirect: {}",
            [("ML0130", "warning", "b.yaml:8:7")],
        ),
        ("- {match: [{uri: {prefix: /}, port: 80}], redirect: {}}\n- redirect: {}", []),
        (
            (
                "- {match: [{uri: {prefix: /a}, name: x}], redirect: {}}\n"
                "- {match: [{uri: {prefix: /a}}], redirect: {}}"
            ),
            [("ML0131", "info", "b.yaml:8:16")],
        ),
        (
            "- {route: [{destination: {host: reviews}}], retries: {retryOn: 5xx}}",
            [("ML1001", "warning", "b.yaml:7:58")],
        ),
    ],
)
def test_doubtful_rules_are_found(world_of, http, expected):
    world = world_of(MESH, rules(http))
    assert found(world) == expected
    compile_snapshot(world, Scope()).check()


def test_hints_name_what_was_probably_meant(world_of):
    (finding,) = findings_of(world_of(MESH, rules("- route: [{destination: {host: revews}}]")))
    assert finding.hint == "did you mean 'reviews.default.svc.cluster.local'?"
    dotted = rules("- route: [{destination: {host: reviews.default}}]")
    (finding,) = findings_of(world_of(MESH, dotted))
    assert finding.hint == "did you mean 'reviews.default.svc.cluster.local'?"


def test_two_virtual_services_for_one_host_name_each_other(world_of):
    world = world_of(MESH, GOOD, GOOD.replace("name: rules", "name: others"))
    (finding,) = findings_of(world)
    assert (finding.code, finding.severity) == ("ML0109", "error")
    assert str(finding.place) == "c.yaml:5:11"
    assert "default/rules at b.yaml:1:1" in finding.message
    assert str(errors_of(world)[0]).startswith("c.yaml:5:11: VirtualService default/others: host")


@pytest.mark.parametrize("extra", ["  gateways: [edge]\n", "  exportTo: [elsewhere]\n"])
def test_virtual_services_that_never_meet_do_not_conflict(world_of, extra):
    mine = GOOD + "  exportTo: [default]\n"
    other = rules("- redirect: {}", name="others", extra=extra)
    assert "ML0109" not in [code for code, _, _ in found(world_of(MESH, mine, other))]


@pytest.mark.parametrize(
    "manifest, expected",
    [
        (
            "{kind: DestinationRule, spec: {host: nobody}}",
            ("ML0174", "warning", "b.yaml:1:38"),
        ),
        (
            "{kind: DestinationRule, spec: {host: reviews, subsets: [{name: v7, labels: {v: w}}]}}",
            ("ML0173", "warning", "b.yaml:1:57"),
        ),
        (
            "{kind: WorkloadEntry, spec: {address: web.local, labels: {app: reviews}}}",
            ("ML1003", "warning", "b.yaml:1:39"),
        ),
        ("{kind: WorkloadEntry, spec: {network: far}}", ("ML1003", "warning", "b.yaml:1:39")),
        ("{kind: ServiceEntry, spec: {hosts: ['*.x.y']}}", ("ML1001", "info", "b.yaml:1:36")),
        ("{kind: Sidecar, spec: {}}", ("ML0105", "warning", "b.yaml:1:8")),
        (
            "{kind: VirtualService, spec: {hosts: [x.y], http: [{redirect: {}}]}}",
            ("ML0101", "warning", "b.yaml:1:39"),
        ),
        (
            "{kind: VirtualService, spec: {hosts: [x.y], gateways: [g], http: [{redirect: {}}]}}",
            ("ML1001", "info", "b.yaml:1:55"),
        ),
    ],
)
def test_what_has_no_effect_is_said(world_of, manifest, expected):
    text = manifest[:-1] + ", metadata: {name: x}, apiVersion: networking.istio.io/v1}"
    assert found(world_of(MESH, text)) == [expected]


def test_one_host_of_two_owners_is_said(world_of):
    entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: copy}
spec: {hosts: [reviews.default.svc.cluster.local], location: MESH_INTERNAL}
"""
    assert found(world_of(MESH, entry)) == [("ML1002", "warning", "b.yaml:2:1")]


def test_analyze_turns_unreadable_files_into_findings(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [")
    (tmp_path / "b.yaml").write_text(rules("- rout: []"))
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\xff")
    findings = analyze([tmp_path, tmp_path / "gone"])
    assert [f.code for f in findings] == ["ML0100", "ML0106", "ML0100", "ML0100"]


def test_nothing_is_called_missing_while_a_manifest_is_unreadable(tmp_path):
    (tmp_path / "a.yaml").write_text(MESH.replace("subsets", "subsetz"))
    (tmp_path / "b.yaml").write_text(GOOD)
    assert [f.code for f in analyze([tmp_path])] == ["ML0106"]


def test_a_finding_is_plain_values(world_of):
    (finding,) = findings_of(world_of(MESH, rules("- route: [{destination: {host: nope}}]")))
    assert finding.to_dict() == {
        "code": "ML0101",
        "severity": "error",
        "place": "b.yaml:7:36",
        "resource": "VirtualService default/rules",
        "message": "no service nope.default.svc.cluster.local is known here",
        "hint": "",
    }


TO = "route: [{destination: {host: reviews}}]"


@pytest.mark.parametrize(
    "rule, code, severity, said",
    [
        ("mirror: {host: revews}", "ML0101", "error", "no service revews"),
        ("mirror: {host: reviews, subset: v9}", "ML0107", "error", "has a subset 'v9'"),
        ("mirrors: [{destination: {host: revews}}]", "ML0101", "error", "no service revews"),
        ("mirror: {host: reviews}, mirrorPercent: 0", "ML1001", "info", "nothing is mirrored"),
        (
            "mirror: {host: reviews}, mirrorPercent: 5, mirrorPercentage: {value: 6}",
            "ML1001",
            "info",
            "no effect beside mirrorPercentage",
        ),
        ("fault: {delay: {fixedDelay: 1s}}", "ML1001", "warning", "nothing is delayed"),
        ("fault: {abort: {httpStatus: 500}}", "ML1001", "warning", "nothing is aborted"),
        (
            "fault: {delay: {fixedDelay: 1s, percent: 5, percentage: {value: 6}}}",
            "ML1001",
            "info",
            "no effect beside percentage",
        ),
        (
            "match: [{uri: {regex: /a}, ignoreUriCase: true}]",
            "ML1001",
            "info",
            "exact and prefix only",
        ),
        ("match: [{uri: {exact: /a}, statPrefix: x}]", "ML1001", "info", "statPrefix"),
        (
            "timeout: 1s, retries: {attempts: 1, perTryTimeout: 1s}",
            "ML1001",
            "warning",
            "timeout is not longer",
        ),
        (
            "retries: {attempts: 1, retryOn: retriable-status-codes}",
            "ML1001",
            "warning",
            "needs statuses",
        ),
        (
            "retries: {attempts: 1, retryOn: retriable-headers}",
            "ML1001",
            "info",
            "cannot say which",
        ),
    ],
)
def test_what_a_rule_says_in_vain_is_said(world_of, rule, code, severity, said):
    (finding,) = findings_of(world_of(MESH, rules(f"- {{{TO}, {rule}}}")))
    assert (finding.code, finding.severity) == (code, severity)
    assert said in finding.message


@pytest.mark.parametrize(
    "policy, said",
    [
        ("loadBalancer: {consistentHash: {}}", "has no key"),
        ("loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}", "warmup has an effect with"),
        (
            "loadBalancer: {simple: PASSTHROUGH, localityLbSetting: {enabled: true}}",
            "no effect with PASSTHROUGH",
        ),
        (
            "loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}",
            "failover has no effect without outlierDetection",
        ),
        ("connectionPool: {tcp: {idleTimeout: 1s}}", "idleTimeout of tcp"),
        ("connectionPool: {http: {http2KeepAlive: {interval: 1s}}}", "no effect on HTTP"),
        ("connectionPool: {http: {maxConcurrentStreams: 1}}", "the server says it"),
        ("connectionPool: {http: {h2UpgradePolicy: UPGRADE}}", "h2UpgradePolicy has no effect"),
        ("connectionPool: {http: {useClientProtocol: true}}", "useClientProtocol has no effect"),
        (
            "outlierDetection: {consecutiveLocalOriginFailures: 3}",
            "without splitExternalLocalOriginErrors",
        ),
        (
            "outlierDetection: {consecutiveGatewayErrors: 5, consecutive5xxErrors: 5}",
            "consecutive5xxErrors is reached first",
        ),
        (
            (
                "outlierDetection: "
                "{consecutiveErrors: 1, consecutiveGatewayErrors: 4, consecutive5xxErrors: 5}"
            ),
            "no effect beside the newer",
        ),
        ("retryBudget: {interval: 1s}", "counted while they run"),
        (
            "retryBudget: {}, connectionPool: {http: {maxRetries: 1}}",
            "no effect beside a retryBudget",
        ),
    ],
)
def test_what_a_policy_says_in_vain_is_said(world_of, policy, said):
    rule = f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: x}}
spec: {{host: reviews, trafficPolicy: {{{policy}}}}}
"""
    (finding,) = findings_of(world_of(MESH, rule))
    assert (finding.code, finding.severity) == ("ML1001", "info")
    assert said in finding.message


def test_a_header_that_grpc_cannot_carry_is_said(world_of):
    mesh = MESH.replace("{port: 80}", "{port: 80, name: grpc}")
    world = world_of(mesh, rules(f"- {{{TO}, headers: {{request: {{set: {{x: Zoë}}}}}}}}"))
    (finding,) = findings_of(world)
    assert (finding.code, str(finding.place)) == ("ML1001", "b.yaml:7:78")
    assert "ASCII" in finding.message


UNBALANCED = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay}
spec: {hosts: [pay.example], resolution: NONE, ports: [{number: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay}
spec: {host: pay.example, trafficPolicy: {POLICY}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: pay}
spec: {hosts: [pay.example], http: [{route: [{destination: {host: pay.example}}], RULE}]}
"""


@pytest.mark.parametrize(
    "policy, rule, said",
    [
        ("", "timeout: 1s", []),
        ("", "retries: {attempts: 0}", []),
        ("", "retries: {attempts: 2, retryOn: 5xx}", ["retries have no effect"]),
        ("", "mirror: {host: pay.example}", ["mirror has no effect"]),
        ("", "mirrors: [{destination: {host: pay.example}}]", ["mirrors have no effect"]),
        ("outlierDetection: {}", "timeout: 1s", ["outlierDetection has no effect"]),
        ("loadBalancer: {simple: RANDOM}", "timeout: 1s", ["loadBalancer has no effect"]),
        ("loadBalancer: {simple: PASSTHROUGH}", "timeout: 1s", []),
        (
            "connectionPool: {http: {http2MaxRequests: 1}}, retryBudget: {percent: 1}",
            "timeout: 1s",
            ["connectionPool has no effect", "retryBudget has no effect"],
        ),
    ],
)
def test_what_needs_a_choice_of_endpoints_is_in_vain_where_there_is_none(
    world_of, policy, rule, said
):
    text = UNBALANCED.replace("POLICY", policy).replace("RULE", rule)
    findings = findings_of(world_of(text))
    assert [finding.code for finding in findings] == ["ML1001"] * len(said)
    for finding, words in zip(findings, said, strict=True):
        assert words in finding.message


@pytest.mark.parametrize(
    "per_cent, endpoints, in_vain",
    [(0, 2, 1), (0, 9, 1), (0, 10, 0), (50, 2, 0), (49, 2, 1), (0, 1, 0)],
)
def test_a_share_of_endpoints_that_is_less_than_one_is_said(world_of, per_cent, endpoints, in_vain):
    addresses = ", ".join(f"{{address: 10.0.0.{number}}}" for number in range(endpoints))
    world = world_of(f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: x}}
spec:
  hosts: [x.example]
  ports: [{{number: 80, name: http}}]
  resolution: STATIC
  endpoints: [{addresses}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: x}}
spec: {{host: x.example, trafficPolicy: {{outlierDetection: {{maxEjectionPercent: {per_cent}}}}}}}
""")
    findings = findings_of(world)
    assert len(findings) == in_vain
    assert all("never ejects" in finding.message for finding in findings)


def test_a_policy_of_a_subset_is_ejected_from_as_the_rule_says(world_of):
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: x}
spec:
  host: reviews
  trafficPolicy: {outlierDetection: {}}
  subsets:
    - name: v1
      labels: {version: v1}
      trafficPolicy: {loadBalancer: {localityLbSetting: {failoverPriority: [version]}}}
"""
    assert found(world_of(MESH.replace("name: v1", "name: v2"), rule)) == []


def test_what_the_mesh_says_in_vain_is_said(world_of):
    mesh = """
kind: MeshConfig
h2UpgradePolicy: UPGRADE
defaultTrafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}
"""
    assert found(world_of(MESH, mesh)) == [
        ("ML1001", "info", "b.yaml:3:18"),
        ("ML1001", "info", "b.yaml:4:67"),
    ]


@pytest.mark.parametrize(
    "rule, said",
    [
        ("corsPolicy: {}", "no effect on gRPC"),
        ("match: [{queryParams: {a: {}}}]", "never matches"),
    ],
)
def test_what_grpc_has_not_is_said_of_hosts_that_speak_nothing_else(world_of, rule, said):
    text = rules(f"- {{{TO}, {rule}}}")
    assert found(world_of(MESH, text)) == []
    grpc = MESH.replace("ports: [{port: 80}]", "ports: [{port: 80, name: grpc}]")
    (finding,) = findings_of(world_of(grpc, text))
    assert (finding.code, finding.severity) == ("ML1001", "info")
    assert said in finding.message


@pytest.mark.parametrize(
    ("host", "location", "told"),
    [
        ("reviews.default.svc.cluster.local", "", True),
        ("reviews.default.svc.cluster.local", ", location: MESH_EXTERNAL", True),
        ("reviews.default.svc.cluster.local", ", location: MESH_INTERNAL", False),
        ("api.example.com", "", False),
    ],
)
def test_a_host_of_the_mesh_that_is_said_to_be_outside_is_told(world_of, host, location, told):
    entry = f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: one}}
spec: {{hosts: [{host}], ports: [{{number: 80, name: http}}], resolution: DNS{location}}}
"""
    assert (
        ("ML1013", "info") in {(f.code, f.severity) for f in findings_of(world_of(entry))}
    ) is told
