"""How members call each other safely: by what endpoints take, or by what a rule says."""

import pytest

from meshlib.controlplane import Scope, compile_snapshot
from meshlib.controlplane.compile import Compiler
from meshlib.model import Exact, Struct
from meshlib.model.security import (
    CertificateFiles,
    RootFile,
    SanMatcher,
    SanType,
    SdsSecret,
    SystemRoots,
)

HOST = "reviews.default.svc.cluster.local"
STRICT = """\
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: peers, namespace: NAMESPACE}
spec: {mtls: {mode: STRICT}}
"""


def workload(name, spec="", **labels):
    said = "".join(
        f", {key.replace('__', '/').replace('_', '.')}: {v}" for key, v in labels.items()
    )
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
        f"metadata: {{name: w{name}}}\n"
        f"spec: {{address: 10.0.0.{name}, labels: {{app: reviews{said}}}{spec}}}\n"
    )


def strict(namespace="default"):
    return STRICT.replace("NAMESPACE", namespace)


def uri(account):
    value = f"spiffe://cluster.local/ns/default/sa/{account}"
    return SanMatcher(match=Exact(value), san_type=SanType.URI)


def endpoints(snapshot, port=80):
    (group,) = snapshot.endpoints[f"outbound|{port}||{HOST}"].endpoints
    return [one.metadata for one in group.lb_endpoints]


def taken(metadata):
    return metadata.get("envoy.transport_socket_match", "tlsMode")


def test_without_mutual_tls_nothing_is_secured(snapshot_of, destination_rule):
    made = snapshot_of(workload("1"))
    cluster = made.clusters[f"outbound|80||{HOST}"]
    assert (cluster.tls, cluster.transport_socket_matches) == (None, ())
    assert [taken(one) for one in endpoints(made)] == [None]
    assert endpoints(made)[0].get("meshlib", "spiffe_id") is None


@pytest.mark.parametrize("namespace", ["default", "istio-system"])
def test_an_endpoint_that_is_strict_is_called_by_mutual_tls(snapshot_of, namespace):
    made = snapshot_of(workload("1", ", serviceAccount: me"), workload("2"), strict(namespace))
    first, second = endpoints(made)
    assert (taken(first), taken(second)) == ("istio", "istio")
    assert first.get("meshlib", "spiffe_id") == "spiffe://cluster.local/ns/default/sa/me"
    assert second.get("meshlib", "spiffe_id") == "spiffe://cluster.local/ns/default/sa/default"
    assert first.source

    cluster = made.clusters[f"outbound|80||{HOST}"]
    mutual, plain = cluster.transport_socket_matches
    assert cluster.tls is None
    assert (mutual.name, mutual.match) == ("tlsMode-istio", Struct((("tlsMode", "istio"),)))
    assert (plain.name, plain.match, plain.tls) == ("tlsMode-disabled", Struct(), None)
    assert mutual.tls.certificate == SdsSecret("default")
    assert mutual.tls.validation.roots == SdsSecret("ROOTCA")
    assert mutual.tls.validation.match_subject_alt_names == (uri("default"), uri("me"))
    assert mutual.tls.sni == f"outbound_.80_._.{HOST}"
    assert mutual.tls.alpn_protocols == ("istio",)
    grpc = made.clusters[f"outbound|81||{HOST}"].transport_socket_matches[0].tls
    assert grpc.alpn_protocols == ("istio", "h2")


def test_an_endpoint_may_say_itself_what_it_takes(snapshot_of):
    made = snapshot_of(
        workload("1", security_istio_io__tlsMode="istio"),
        workload("2"),
    )
    assert [taken(one) for one in endpoints(made)] == ["istio", None]
    made = snapshot_of(workload("1", security_istio_io__tlsMode="disabled"), strict())
    assert [taken(one) for one in endpoints(made)] == [None]


def test_a_strict_port_is_the_workloads_own(snapshot_of):
    ports = """\
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: peers}
spec: {selector: {matchLabels: {app: reviews}}, portLevelMtls: {'81': {mode: STRICT}}}
"""
    made = snapshot_of(workload("1"), ports)
    assert [taken(one) for one in endpoints(made, 80)] == [None]
    assert [taken(one) for one in endpoints(made, 81)] == ["istio"]


def test_mutual_tls_by_itself_can_be_switched_off(snapshot_of):
    made = snapshot_of(workload("1"), strict(), "---\nkind: MeshConfig\nenableAutoMtls: false\n")
    assert made.clusters[f"outbound|80||{HOST}"].transport_socket_matches == ()


def test_identities_are_of_the_meshs_trust_domain(snapshot_of):
    made = snapshot_of(workload("1"), strict(), "---\nkind: MeshConfig\ntrustDomain: td.example\n")
    (told,) = endpoints(made)
    assert told.get("meshlib", "spiffe_id") == "spiffe://td.example/ns/default/sa/default"


def test_a_subset_is_asked_for_by_its_own_name(snapshot_of, destination_rule):
    rule = destination_rule("", extra="subsets: [{name: v1, labels: {app: reviews}}]")
    made = snapshot_of(workload("1"), strict(), rule)
    cluster = made.clusters[f"outbound|80|v1|{HOST}"]
    assert cluster.transport_socket_matches[0].tls.sni == f"outbound_.80_.v1_.{HOST}"


def test_what_a_rule_says_holds_for_all(cluster_of):
    plain = cluster_of("tls: {mode: DISABLE}", workload("1"), strict())
    assert (plain.tls, plain.transport_socket_matches) == (None, ())
    mutual = cluster_of("tls: {mode: ISTIO_MUTUAL, sni: x}", workload("1"))
    assert mutual.tls.sni == "x"
    assert mutual.tls.validation.match_subject_alt_names == (uri("default"),)
    named = cluster_of("tls: {mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://a/b']}")
    (san,) = named.tls.validation.match_subject_alt_names
    assert san == SanMatcher(match=Exact("spiffe://a/b"), san_type=SanType.URI)


def test_who_a_service_entry_names_answers_for_it_unless_a_workload_has_an_account(snapshot_of):
    entry = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: named}
spec:
  hosts: [named.example]
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  subjectAltNames: [spiffe://other/them]
  endpoints:
    - {address: 1.1.1.1}
    - {address: 1.1.1.2, serviceAccount: me}
"""
    made = snapshot_of(entry, strict())
    name = "outbound|80||named.example"
    mutual = made.clusters[name].transport_socket_matches[0].tls
    assert mutual.validation.match_subject_alt_names == (
        uri("me"),
        SanMatcher(match=Exact("spiffe://other/them"), san_type=SanType.URI),
    )
    (group,) = made.endpoints[name].endpoints
    told = [one.metadata.get("meshlib", "spiffe_id") for one in group.lb_endpoints]
    assert told == [None, "spiffe://cluster.local/ns/default/sa/me"]


def test_a_port_or_subset_may_say_another(cluster_of):
    policy = "tls: {mode: DISABLE}\nportLevelSettings: [{port: {number: 81}, tls: {mode: SIMPLE}}]"
    assert cluster_of(policy).tls is None
    assert cluster_of(policy, port=81).tls is not None


def test_tls_to_the_world_outside_goes_by_files_and_names(cluster_of):
    simple = cluster_of("tls: {mode: SIMPLE}").tls
    assert (simple.sni, simple.certificate, simple.validation.roots) == (HOST, None, SystemRoots())
    wanted = SanMatcher(match=Exact(HOST), san_type=SanType.DNS)
    assert simple.validation.match_subject_alt_names == (wanted,)
    mutual = cluster_of(
        "tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca,"
        " caCrl: /crl, sni: s, subjectAltNames: [n]}"
    ).tls
    assert mutual.certificate == CertificateFiles("/c", "/k")
    assert (mutual.validation.roots, mutual.validation.crl) == (RootFile("/ca"), "/crl")
    assert mutual.validation.match_subject_alt_names == (SanMatcher(match=Exact("n")),)


EXTERNAL = """\
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far}
spec:
  hosts: [far.example]
  ports: [{number: 443, name: http}]
  resolution: STATIC
  subjectAltNames: [near.example]
  endpoints: [{address: 10.0.0.9}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: far}
spec: {host: far.example, trafficPolicy: {tls: {mode: SIMPLE}}}
"""


def test_who_is_outside_has_no_identity_of_the_mesh(snapshot_of):
    entry = EXTERNAL.rpartition("---")[0]
    made = snapshot_of(entry, strict())
    assert made.clusters["outbound|443||far.example"].transport_socket_matches == ()


def test_a_service_entry_says_who_may_answer(snapshot_of):
    tls = snapshot_of(EXTERNAL).clusters["outbound|443||far.example"].tls
    (san,) = tls.validation.match_subject_alt_names
    assert san.match == Exact("near.example")


def test_an_edit_of_modes_reaches_whom_it_is_about(world_of):
    service = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\n"
        "spec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}\n"
    )
    compiler, scope = Compiler(), Scope()
    before = compiler.snapshot_of(world_of(service + workload("1")), scope)
    after = compiler.snapshot_of(world_of(service + workload("1") + strict()), scope)
    assert [taken(one) for one in endpoints(before)] == [None]
    assert [taken(one) for one in endpoints(after)] == ["istio"]
    elsewhere = compiler.snapshot_of(world_of(service + workload("1") + strict("other")), scope)
    assert elsewhere.endpoints == before.endpoints
    assert elsewhere.clusters == before.clusters


def test_hosts_outside_of_the_mesh_are_marked_as_istio_marks_them(world_of):
    said = "".join(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
        f"metadata: {{name: {name}}}\nspec:\n  hosts: [{name}.example]\n  resolution: STATIC\n"
        f"{location}  ports: [{{name: http, number: 80, protocol: HTTP}}]\n"
        for name, location in (("out", ""), ("in", "  location: MESH_INTERNAL\n"))
    )
    clusters = compile_snapshot(world_of(said), Scope()).clusters
    assert clusters["outbound|80||out.example"].is_external
    assert not clusters["outbound|80||in.example"].is_external
