"""What stands before a member: filters of policies, and the way in which connections come in."""

from dataclasses import replace

import pytest

from meshlib.controlplane import Scope, compile_snapshot
from meshlib.controlplane.scope import Sidecar
from meshlib.dataplane.peer_mode import said_of
from meshlib.model import Address, SafeRegex, Struct
from meshlib.model.authn import ExtAuthz, JwtAuthn
from meshlib.model.rbac import Rbac, RbacAction
from meshlib.model.security import SdsSecret
from meshlib.xds.codec import decode_snapshot, encode_json

ME = Scope("default", (("app", "reviews"),))
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
RULE = "{rules: [{to: [{operation: {methods: [GET]}}]}]}"
TOKENS = "{jwtRules: [{issuer: issuer.example, jwks: '{}'}]}"
CUSTOM = RULE.replace("{rules", "{action: CUSTOM, provider: {name: p}, rules", 1)
PROVIDER = """\
---
kind: MeshConfig
extensionProviders:
  - name: p
    envoyExtAuthzHttp: {service: reviews.default.svc.cluster.local, port: 80}
"""


def said(kind, spec, name="x", namespace="default"):
    return (
        f"---\napiVersion: security.istio.io/v1\nkind: {kind}\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )


def peers(mode, name="peers", namespace="default", more=""):
    return said("PeerAuthentication", f"{{mtls: {{mode: {mode}}}{more}}}", name, namespace)


def access(spec=RULE, name="access", namespace="default"):
    return said("AuthorizationPolicy", spec, name, namespace)


@pytest.fixture
def inbound_of(world_of):
    def compiled(*texts, scope=ME):
        made = compile_snapshot(world_of(SERVICE + "".join(texts)), scope)
        made.check()
        return made.listeners.get("inbound")

    return compiled


def names(listener):
    return [one.name for one in listener.http.http_filters]


def test_without_policies_nothing_stands_before_a_member(inbound_of):
    assert inbound_of() is None


def test_a_policy_of_the_namespace_stands_before_its_members(inbound_of):
    listener = inbound_of(access())
    assert names(listener) == ["envoy.filters.http.rbac.allow", "envoy.filters.http.router"]
    assert (listener.tls, listener.plaintext) == (None, False)
    (policy,) = listener.http.http_filters[0].config.rules.policies
    assert policy.name == "ns[default]-policy[access]-rule[0]"
    assert policy.source == "a.yaml:9:16"


@pytest.mark.parametrize(
    "namespace, labels, holds",
    [
        ("default", "app: reviews", True),
        ("default", "app: ratings", False),
        ("default", "app: reviews, version: v2", False),
        ("other", "app: reviews", False),
        ("istio-system", "app: reviews", True),
        ("istio-system", "app: ratings", False),
    ],
)
def test_a_policy_holds_for_whom_it_selects(inbound_of, namespace, labels, holds):
    rule = RULE.replace("{rules", f"{{selector: {{matchLabels: {{{labels}}}}}, rules", 1)
    assert (inbound_of(access(rule, namespace=namespace)) is not None) is holds


def test_a_policy_for_waypoints_holds_for_nobody(inbound_of):
    spec = RULE.replace("{rules", "{targetRefs: [{kind: Gateway, name: g}], rules", 1)
    assert inbound_of(access(spec)) is None


def test_filters_stand_in_the_order_of_their_meaning(inbound_of):
    listener = inbound_of(
        PROVIDER,
        access(RULE.replace("{rules", "{action: AUDIT, rules", 1), "audit"),
        access(name="allow"),
        access(RULE.replace("{rules", "{action: DENY, rules", 1), "deny"),
        access(CUSTOM, "custom"),
        said("RequestAuthentication", TOKENS, "tokens"),
    )
    assert [type(one.config) for one in listener.http.http_filters[:3]] == [
        JwtAuthn,
        Rbac,
        ExtAuthz,
    ]
    rest = [one.config.rules.action for one in listener.http.http_filters[3:-1]]
    assert rest == [RbacAction.DENY, RbacAction.ALLOW, RbacAction.LOG]
    assert len(set(names(listener))) == 7


@pytest.mark.parametrize(
    "mode, encrypted, plaintext",
    [("STRICT", True, False), ("PERMISSIVE", True, True), ("DISABLE", False, False)],
)
def test_connections_come_in_as_the_mode_says(inbound_of, mode, encrypted, plaintext):
    listener = inbound_of(peers(mode), access())
    assert (listener.tls is not None, listener.plaintext) == (encrypted, plaintext)
    if encrypted:
        assert listener.tls.certificate == SdsSecret("default")
        assert listener.tls.validation.roots == SdsSecret("ROOTCA")
        assert listener.tls.require_client_certificate
        assert listener.address == Address("0.0.0.0", 0), "by name alone TLS has no wire form"


def test_a_mode_alone_is_worth_a_listener(inbound_of):
    assert names(inbound_of(peers("STRICT"))) == ["envoy.filters.http.router"]
    lenient = inbound_of(peers("PERMISSIVE"))
    assert lenient.plaintext, "who was strict before has to hear of it"
    assert said_of(lenient) == "PERMISSIVE"


def test_the_nearest_mode_counts(inbound_of):
    mesh, home = peers("STRICT", "mesh", "istio-system"), peers("DISABLE", "home")
    own = peers("STRICT", "own", more=", selector: {matchLabels: {app: reviews}}")
    other = peers("DISABLE", "other", more=", selector: {matchLabels: {app: other}}")
    assert inbound_of(mesh).tls is not None
    assert inbound_of(mesh, home).tls is None
    assert inbound_of(mesh, home, own, other).tls is not None
    assert inbound_of(mesh, peers("UNSET", "home")).tls is not None


def test_members_of_a_mesh_with_identities_let_in_both(inbound_of):
    entry = """\
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w, labels: {security.istio.io/tlsMode: istio}}
spec: {address: 10.0.0.1, labels: {app: ratings}}
"""
    listener = inbound_of(access(), entry)
    assert (listener.tls is not None, listener.plaintext) == (True, True)


PORTS = ", selector: {matchLabels: {app: reviews}}, portLevelMtls: {8080: {mode: PERMISSIVE}}"


def test_ports_that_differ_are_told_and_guarded_call_by_call(inbound_of):
    listener = inbound_of(peers("STRICT", more=PORTS.replace("8080", "'8080'")))
    assert (listener.tls is not None, listener.plaintext) == (True, True)
    assert listener.metadata.get("meshlib", "mtls_ports") == Struct((("8080", "PERMISSIVE"),))
    assert names(listener)[0] == "envoy.filters.http.rbac.mtls"


def test_a_sidecar_has_each_port_as_it_is(world_of):
    text = SERVICE + peers("STRICT", more=PORTS.replace("8080", "'8080'")) + access()
    envoy = Scope("default", (("app", "reviews"),), sidecar=Sidecar("127.0.0.1", "10.0.0.7"))
    made = compile_snapshot(world_of(text), envoy)
    listener = made.listeners["inbound_10.0.0.7_8080"]
    assert (listener.tls is not None, listener.plaintext) == (True, True)
    assert names(listener)[0] == "envoy.filters.http.rbac.allow"
    strict = compile_snapshot(world_of(SERVICE + peers("STRICT")), envoy)
    listener = strict.listeners["inbound_10.0.0.7_8080"]
    assert (listener.tls is not None, listener.plaintext) == (True, False)


def test_a_grpc_server_has_the_mode_of_its_own_port(world_of):
    name = "xds.istio.io/grpc/lds/inbound/10.0.0.7:8080"
    scope = Scope("default", (("app", "reviews"),), server_listeners=(name,))
    text = SERVICE + peers(
        "DISABLE", more=PORTS.replace("8080: {mode: PERMISSIVE}", "'8080': {mode: STRICT}")
    )
    listener = compile_snapshot(world_of(text + access()), scope).listeners[name]
    assert (listener.tls is not None, listener.plaintext) == (True, False)
    assert names(listener)[0] == "envoy.filters.http.rbac.allow"


def test_a_gateway_obeys_the_policies_that_select_it(world_of):
    gateway = """\
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {app: edge}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
"""
    rule = RULE.replace("{rules", "{selector: {matchLabels: {app: edge}}, rules", 1)
    scope = Scope("default", (("app", "edge"),), sidecar=Sidecar("0.0.0.0", ""))
    made = compile_snapshot(world_of(SERVICE + gateway + access(rule)), scope)
    assert names(made.listeners["0.0.0.0_8080"])[0] == "envoy.filters.http.rbac.allow"


def test_members_are_told_whether_mutual_tls_is_welcome(inbound_of):
    assert inbound_of(access()).metadata.get("meshlib", "mtls") == "PERMISSIVE"
    assert inbound_of(peers("DISABLE")).metadata.get("meshlib", "mtls") == "DISABLE"


def test_a_listener_for_patches_lets_in_what_the_mode_says(world_of):
    patch = """---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  configPatches:
    - applyTo: HTTP_FILTER
      match: {context: SIDECAR_INBOUND}
      patch:
        operation: INSERT_FIRST
        value:
          name: envoy.filters.http.rbac
          typed_config: {"@type": a/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {}}
"""
    entry = """---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w, labels: {security.istio.io/tlsMode: istio}}
spec: {address: 10.0.0.1, labels: {app: reviews}}
"""
    listener = compile_snapshot(world_of(SERVICE + patch + entry), ME).listeners["inbound"]
    assert (listener.tls is not None, listener.plaintext) == (True, True)


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE", "DISABLE"])
def test_what_stands_before_a_member_survives_the_wire(inbound_of, mode):
    listener = inbound_of(
        peers(mode), access(), said("RequestAuthentication", TOKENS), entry_of("istio")
    )
    (received,) = decode_snapshot([encode_json(listener)]).listeners.values()
    assert received == unplaced(listener)


def test_all_headers_by_a_star_survive_the_wire(inbound_of):
    """An empty suffix would be one that protocol buffers cannot tell from none."""
    fields = (
        "includeRequestHeadersInCheck",
        "headersToUpstreamOnAllow",
        "headersToDownstreamOnDeny",
        "headersToDownstreamOnAllow",
    )
    every = ", ".join(f'{field}: ["*"]' for field in fields)
    provider = PROVIDER.replace("port: 80}", f"port: 80, {every}}}")
    listener = inbound_of(provider, access(CUSTOM))
    (asked,) = (one.config for one in listener.http.http_filters if type(one.config) is ExtAuthz)
    assert asked.allowed_headers == (SafeRegex(".*"),)
    (received,) = decode_snapshot([encode_json(listener)]).listeners.values()
    assert asked in [one.config for one in received.http.http_filters]


def test_ports_that_differ_survive_the_wire(inbound_of):
    listener = inbound_of(peers("STRICT", more=PORTS.replace("8080", "'8080'")))
    (received,) = decode_snapshot([encode_json(listener)]).listeners.values()
    assert received == listener


def entry_of(mode):
    return f"""---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: w, labels: {{security.istio.io/tlsMode: {mode}}}}}
spec: {{address: 10.0.0.1, labels: {{app: reviews}}}}
"""


def unplaced(listener):
    """Where a policy was written is known at home alone."""
    filters = tuple(map(unplaced_filter, listener.http.http_filters))
    return replace(listener, http=replace(listener.http, http_filters=filters))


def unplaced_filter(one):
    if not isinstance(one.config, Rbac):
        return one
    rules = one.config.rules
    policies = tuple(replace(policy, source="") for policy in rules.policies)
    return replace(one, config=replace(one.config, rules=replace(rules, policies=policies)))
