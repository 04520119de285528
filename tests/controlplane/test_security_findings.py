"""What is said of policies and of mutual TLS before anybody runs on them."""

import pytest

from meshlib.controlplane import findings_of

MESH = """
apiVersion: v1
kind: Service
metadata:
  name: reviews
  annotations: {alpha.istio.io/kubernetes-serviceaccounts: default}
spec: {selector: {app: reviews}, ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-1}
spec: {address: 10.0.0.1, labels: {app: reviews, version: v1}}
"""
GOOD = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rules}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews.default.svc.cluster.local}}]}]
"""


def found(world):
    return [(f.code, f.severity, str(f.place)) for f in findings_of(world)]


SECURED = (
    MESH
    + """---
kind: MeshConfig
extensionProviders:
  - {name: judge, envoyExtAuthzGrpc: {service: nobody.example, port: 9000, clearRouteCache: true}}
meshMTLS: {minProtocolVersion: TLSV1_3}
"""
)


def test_what_the_mesh_says_of_security_in_vain_is_said(world_of):
    said = [f.message for f in findings_of(world_of(SECURED))]
    assert [text.partition(" ")[0] for text in said] == [
        "no",
        "clearRouteCache",
        "minProtocolVersion",
    ]


@pytest.mark.parametrize(
    "least, severity", [("TLS_AUTO", None), ("TLSV1_2", "info"), ("TLSV1_3", "warning")]
)
def test_a_version_of_tls_that_is_not_enforced_is_a_warning(world_of, least, severity):
    said = findings_of(world_of(f"kind: MeshConfig\nmeshMTLS: {{minProtocolVersion: {least}}}\n"))
    assert [one.severity for one in said] == ([severity] if severity else [])


def secured(kind, spec):
    head = f"apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: x}}\n"
    return f"{head}spec: {spec}\n"


def rule(action, said):
    return secured("AuthorizationPolicy", f"{{action: {action}, rules: [{said}]}}")


def source(field, value):
    return rule("DENY", f"{{from: [{{source: {{{field}: ['{value}']}}}}]}}")


def operation(field, value, action="ALLOW"):
    return rule(action, f"{{to: [{{operation: {{{field}: ['{value}']}}}}]}}")


@pytest.mark.parametrize(
    "policy, expected",
    [
        (source("principals", "spiffe://a/ns/b/sa/c"), ("ML1005", "written without spiffe://")),
        (source("principals", " a"), ("ML1005", "begins or ends with a space")),
        (source("requestPrincipals", "issuer"), ("ML1005", "issuer/subject")),
        (source("namespaces", "a/b"), ("ML1005", "has a slash")),
        (source("notTrustDomains", "a/b"), ("ML1005", "has a slash")),
        (operation("methods", "get"), ("ML1005", "upper case")),
        (operation("hosts", "http://a"), ("ML1005", "neither scheme nor path")),
        (operation("paths", "admin"), ("ML1005", "begins with a slash")),
        (operation("paths", "/a?b"), ("ML1005", "without query")),
        (
            rule("ALLOW", "{when: [{key: source.namespace, values: [a/b]}]}"),
            ("ML1005", "has a slash"),
        ),
        (operation("notPaths", "/admin"), ("ML1004", "ALLOW by notPaths can be got around")),
        (operation("paths", "/admin", "DENY"), ("ML1004", "DENY by paths can be got around")),
        (
            secured("AuthorizationPolicy", "{targetRefs: [{kind: Gateway, name: g}]}"),
            ("ML1001", "nobody here enforces it"),
        ),
        (
            secured("AuthorizationPolicy", "{action: CUSTOM, provider: {name: p}, rules: [{}]}"),
            ("ML0101", "no extensionProvider 'p'"),
        ),
        (
            secured("RequestAuthentication", "{jwtRules: [{issuer: i}]}"),
            ("ML1006", "no AuthorizationPolicy asks for a token"),
        ),
    ],
)
def test_a_policy_that_does_not_do_what_it_seems_to_is_told(world_of, policy, expected):
    (finding,) = findings_of(world_of(MESH, policy))
    code, words = expected
    assert finding.code == code
    assert words in finding.message


@pytest.mark.parametrize(
    "policy",
    [
        source("principals", "cluster.local/ns/a/sa/*"),
        source("requestPrincipals", "*"),
        operation("paths", "/reviews/*"),
        operation("notPaths", "/admin", "CUSTOM").replace("CUSTOM", "AUDIT"),
    ],
)
def test_a_policy_that_does_what_it_says_is_not_told(world_of, policy):
    assert found(world_of(MESH, policy)) == []


def test_paths_that_are_merged_are_not_got_around(world_of):
    mesh = MESH + "---\nkind: MeshConfig\npathNormalization: {normalization: MERGE_SLASHES}\n"
    assert found(world_of(mesh, operation("notPaths", "/admin"))) == []


def test_a_token_that_a_policy_asks_for_is_required(world_of):
    tokens = secured("RequestAuthentication", "{jwtRules: [{issuer: i}]}")
    assert found(world_of(MESH, tokens, source("notRequestPrincipals", "*"))) == []
    asked = rule("ALLOW", "{when: [{key: 'request.auth.claims[a]', values: [b]}]}")
    assert found(world_of(MESH, tokens, asked)) == []


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("jwks: '{broken'", "the key set is not JSON: no token of 'i' is let in"),
        ("jwks: '{\"keys\": []}'", "the key set has no keys: no token of 'i' is let in"),
        ("jwksUri: http://i/keys", "keys are fetched by https alone: no token of 'i' is let in"),
    ],
)
def test_an_issuer_without_usable_keys_is_told(world_of, keys, why):
    tokens = secured("RequestAuthentication", f"{{jwtRules: [{{issuer: i, {keys}}}]}}")
    (finding,) = findings_of(world_of(MESH, tokens, source("notRequestPrincipals", "*")))
    assert (finding.code, finding.severity, finding.message) == ("ML1008", "warning", why)


def test_a_host_that_a_grpc_server_cannot_know_is_told(world_of):
    mesh = (
        MESH
        + """---
apiVersion: v1
kind: Service
metadata: {name: spoken}
spec: {selector: {app: spoken}, ports: [{name: grpc, port: 81}]}
"""
    )
    (finding,) = findings_of(world_of(mesh, operation("hosts", "a")))
    assert "cannot be judged by a gRPC server" in finding.message


PEERS = "{selector: {matchLabels: {app: reviews}}, mtls: {mode: STRICT}"


def test_a_port_that_nobody_serves_is_told(world_of):
    ports = PEERS + ", portLevelMtls: {'4711': {mode: DISABLE}}}"
    (finding,) = findings_of(world_of(MESH, secured("PeerAuthentication", ports)))
    assert "port 4711" in finding.message


@pytest.mark.parametrize(
    "tls, conflicts",
    [("DISABLE", True), ("SIMPLE", True), ("ISTIO_MUTUAL", False)],
)
def test_a_rule_that_the_other_side_refuses_is_told(world_of, tls, conflicts):
    rule = f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: x}}
spec: {{host: reviews, trafficPolicy: {{tls: {{mode: {tls}}}}}}}
"""
    findings = findings_of(world_of(MESH, rule, secured("PeerAuthentication", PEERS + "}")))
    assert [f.code for f in findings] == ["ML0113"] * conflicts
    assert all("calls fail" in f.message for f in findings)


def test_a_secret_that_nobody_serves_is_told(world_of):
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: x}
spec: {host: reviews, trafficPolicy: {tls: {mode: SIMPLE, credentialName: s}}}
"""
    assert found(world_of(MESH, rule)) == [("ML1001", "warning", "b.yaml:5:75")]


def test_rules_for_a_host_that_is_not_exported_are_refused(world_of):
    mesh = MESH.replace("annotations: {", "annotations: {networking.istio.io/exportTo: ., ")
    assert mesh != MESH
    foreign = GOOD.replace("name: rules", "name: rules, namespace: other").replace(
        "hosts: [reviews]", "hosts: [reviews.default.svc.cluster.local]"
    )
    assert "ML1007" in [code for code, _, _ in found(world_of(mesh, foreign))]
    assert "ML1007" not in [code for code, _, _ in found(world_of(MESH, foreign))]


STRICT = secured("PeerAuthentication", "{mtls: {mode: STRICT}}")
OPEN = MESH.replace("  annotations: {alpha.istio.io/kubernetes-serviceaccounts: default}\n", "")
SAID = (
    "its port is STRICT, and whatever account of namespace default has its labels may be called "
    "in its place"
)
ANYBODY = ("ML1010", "info", SAID)


def anybody(world):
    said = [(f.code, f.severity, f.message) for f in findings_of(world)]
    return [one for one in said if one[0] == "ML1010"]


def test_a_strict_service_that_any_account_may_stand_for_is_told(world_of):
    assert anybody(world_of(OPEN, STRICT)) == [ANYBODY]


def test_who_names_the_accounts_of_a_service_hears_no_more_of_it(world_of):
    assert anybody(world_of(MESH, STRICT)) == []


def test_where_nobody_proves_who_he_is_accounts_are_not_asked_for(world_of):
    assert anybody(world_of(OPEN)) == []
    assert anybody(world_of(OPEN, secured("PeerAuthentication", "{}"))) == []


def test_a_service_without_selector_takes_nobody(world_of):
    assert anybody(world_of(OPEN.replace("selector: {app: reviews}, ", ""), STRICT)) == []


def test_an_entry_that_selects_workloads_is_told_as_well(world_of):
    entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: partner}
spec:
  hosts: [partner.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  workloadSelector: {labels: {app: partner}}
"""
    assert anybody(world_of(entry, STRICT)) == [ANYBODY]


@pytest.mark.parametrize(
    ("path", "judged"),
    [
        ("/%61dmin", "'/admin'"),
        ("/x/../admin", "'/admin'"),
        ("/x/%2e%2e/admin", "'/admin'"),
        ("/ädmin", "'/%C3%A4dmin'"),
        ("/a dmin*", "'/a%20dminx'"),
        ("*/%7euser", "'/x/~user'"),
        ("/a\\\\b", "'/a/b'"),
        ("/%7e/{*}", "'/~/x'"),
    ],
)
def test_a_path_that_no_request_is_judged_by_is_refused_where_it_would_keep_out(
    world_of, path, judged
):
    """CVE-2020-16844 and its kin: a DENY that is silently dead."""
    for action, field, severity in (
        ("DENY", "paths", "error"),
        ("ALLOW", "notPaths", "error"),
        ("ALLOW", "paths", "warning"),
    ):
        policy = rule(action, f'{{to: [{{operation: {{{field}: ["{path}"]}}}}]}}')
        said = [f for f in findings_of(world_of(MESH, policy)) if f.code == "ML1005"]
        assert [(f.severity, str(f.place).partition(":")[0]) for f in said] == [
            (severity, "b.yaml")
        ]
        assert f"a request with such a path is judged by {judged}" in said[0].message


@pytest.mark.parametrize(
    ("normalization", "path", "is_dead"),
    [
        ("NONE", "/%61dmin", False),
        ("BASE", "/a//b", False),
        ("MERGE_SLASHES", "/a//b", True),
        ("MERGE_SLASHES", "/a%2Fb", False),
        ("DECODE_AND_MERGE_SLASHES", "/a%2fb", True),
        ("BASE", "/a/.*", False),
        ("BASE", "*.html", False),
        ("BASE", "*", False),
        ("BASE", "/%00", True),
        ("BASE", "/{*}/a/{**}", False),
    ],
)
def test_what_a_path_is_judged_by_is_for_the_mesh_to_say(world_of, normalization, path, is_dead):
    mesh = f"kind: MeshConfig\npathNormalization: {{normalization: {normalization}}}\n"
    policy = rule("DENY", f'{{to: [{{operation: {{paths: ["{path}"]}}}}]}}')
    found = findings_of(world_of(f"{MESH}---\n{mesh}", policy))
    assert ("ML1005" in [f.code for f in found]) is is_dead
