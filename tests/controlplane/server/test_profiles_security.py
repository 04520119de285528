"""What stock gRPC and Envoy cannot enforce lets nobody in, and is said."""

from dataclasses import replace

import pytest

from meshlib.controlplane.node import ClientKind
from meshlib.controlplane.profiles import adapt
from meshlib.model import (
    ROUTER,
    Address,
    Cluster,
    ClusterLoadAssignment,
    Eds,
    Endpoint,
    Exact,
    HeaderMatcher,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    LocalityLbEndpoints,
    Metadata,
    MetadataMatcher,
    NonForwardingAction,
    Present,
    Route,
    RouteConfiguration,
    SafeRegex,
    Struct,
    VirtualHost,
    gather,
)
from meshlib.model.authn import ExtAuthz, JwtAuthn, JwtProvider, RemoteJwks
from meshlib.model.rbac import (
    AndRules,
    AnyRule,
    Authenticated,
    HeaderRule,
    MetadataRule,
    NotRule,
    OrRules,
    Policy,
    Rbac,
    RbacAction,
    RbacRules,
    UriTemplate,
)
from meshlib.model.security import (
    CertificateProviderInstance,
    CertificateValidation,
    DownstreamTls,
    RootFile,
    SanMatcher,
    SanType,
    SdsSecret,
    SystemRoots,
    TransportSocketMatch,
    UpstreamTls,
)

ISTIO = Struct((("tlsMode", "istio"),))
OWN, ROOTS = SdsSecret("default"), SdsSecret("ROOTCA")
ID = SanMatcher(match=Exact("spiffe://a/b"), san_type=SanType.URI)
MUTUAL = UpstreamTls(
    validation=CertificateValidation(roots=ROOTS, match_subject_alt_names=(ID,)),
    certificate=OWN,
    sni="x",
    alpn_protocols=("istio",),
)
DOOR = DownstreamTls(
    certificate=OWN,
    validation=CertificateValidation(roots=ROOTS),
    require_client_certificate=True,
    alpn_protocols=("h2",),
)
NAME = "envoy.filters.http.rbac"
ANY = AnyRule()
TOKEN = MetadataRule(MetadataMatcher(filter="f", path=("a",), match=Present()))


@pytest.fixture
def said():
    return []


@pytest.fixture
def for_grpc(said):
    return lambda snapshot: adapt(snapshot, ClientKind.GRPC, lambda one: said.append(str(one)))


@pytest.fixture
def for_envoy(said):
    return lambda snapshot: adapt(snapshot, ClientKind.ENVOY, lambda one: said.append(str(one)))


def server(*configs, **fields):
    host = VirtualHost(name="h", domains=("*",), routes=(Route(action=NonForwardingAction()),))
    filters = [HttpFilter(name=f"{NAME}.{n}", config=c) for n, c in enumerate(configs)]
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="inbound", virtual_hosts=(host,)),
        http_filters=(*filters, ROUTER),
    )
    return Listener(name="s", http=http, address=Address("10.0.0.1", 80), **fields)


def configs(snapshot):
    return [one.config for one in snapshot.listeners["s"].http.http_filters[:-1]]


def rules(action, *permissions, principals=(ANY,)):
    policy = Policy(name="p", permissions=permissions, principals=principals)
    return Rbac(rules=RbacRules(action=action, policies=(policy,)))


def test_a_grpc_server_controls_access_itself(for_grpc, said):
    rbac = rules(RbacAction.ALLOW, ANY, principals=(Authenticated(Exact("spiffe://a/b")),))
    assert configs(for_grpc(gather(listeners=[server(rbac)]))) == [rbac]
    assert said == []


@pytest.mark.parametrize("guard", [JwtAuthn(), ExtAuthz()])
def test_a_grpc_server_that_does_not_know_a_guard_lets_nobody_in(for_grpc, said, guard):
    (made,) = configs(for_grpc(gather(listeners=[server(guard)])))
    assert made == Rbac(rules=RbacRules(action=RbacAction.ALLOW))
    assert said == [
        f"listeners/s: http_filters[{NAME}.0]: gRPC servers do not know it: nobody is let in"
    ]


@pytest.mark.parametrize(
    "rule",
    [
        TOKEN,
        UriTemplate("/a/*"),
        HeaderRule(HeaderMatcher(name=":scheme", match=Exact("https"))),
        HeaderRule(HeaderMatcher(name="grpc-status", match=Present())),
    ],
)
def test_what_a_grpc_server_cannot_judge_speaks_against_the_caller(for_grpc, said, rule):
    never = NotRule(ANY)

    def made(action, one):
        (found,) = configs(for_grpc(gather(listeners=[server(rules(action, one))])))
        return found.rules.policies[0].permissions

    assert made(RbacAction.ALLOW, rule) == (never,)
    assert made(RbacAction.DENY, rule) == (ANY,)
    assert made(RbacAction.ALLOW, AndRules((NotRule(rule),))) == (AndRules((NotRule(ANY),)),)
    assert made(RbacAction.DENY, OrRules((NotRule(rule),))) == (OrRules((NotRule(never),)),)
    assert all("cannot judge speaks against the caller" in text for text in said)


def test_what_only_tells_is_no_business_of_grpc(for_grpc, said):
    shadow = Rbac(shadow_rules=RbacRules())
    assert configs(for_grpc(gather(listeners=[server(shadow, rules(RbacAction.LOG, ANY))]))) == []
    assert len(said) == 2


def test_a_grpc_server_takes_its_certificates_from_its_bootstrap(for_grpc, said):
    made = for_grpc(gather(listeners=[server(tls=DOOR)])).listeners["s"].tls
    assert made.certificate == CertificateProviderInstance("default", "default")
    assert made.validation.roots == CertificateProviderInstance("default", "ROOTCA")
    assert made.require_client_certificate
    assert said == []


def test_a_grpc_server_that_lets_in_both_has_plain_text_alone(for_grpc, said):
    listener = for_grpc(gather(listeners=[server(tls=DOOR, plaintext=True)])).listeners["s"]
    assert (listener.tls, listener.plaintext) == (None, False)
    assert "plain text alone" in said[0]


def cluster(*takes, **fields):
    """With an endpoint for each, which takes mutual TLS or does not."""
    matches = (
        TransportSocketMatch(name="tlsMode-istio", match=ISTIO, tls=MUTUAL),
        TransportSocketMatch(name="tlsMode-disabled"),
    )
    taken = Metadata((("envoy.transport_socket_match", ISTIO),))
    group = LocalityLbEndpoints(
        lb_endpoints=tuple(
            Endpoint(address=Address("10.0.0.1", 80 + n), metadata=taken if one else Metadata())
            for n, one in enumerate(takes)
        )
    )
    made = Cluster(name="c", discovery=Eds(), transport_socket_matches=matches)
    assignment = ClusterLoadAssignment(cluster_name="c", endpoints=(group,))
    return gather(clusters=[replace(made, **fields)], endpoints=[assignment])


def test_grpc_calls_by_mutual_tls_where_all_endpoints_take_it(for_grpc, said):
    made = for_grpc(cluster(True, True)).clusters["c"]
    assert made.transport_socket_matches == ()
    assert made.tls == UpstreamTls(
        certificate=CertificateProviderInstance("default", "default"),
        validation=CertificateValidation(
            roots=CertificateProviderInstance("default", "ROOTCA"),
            match_subject_alt_names=(SanMatcher(match=SafeRegex("spiffe://a/b")),),
        ),
    )
    assert said == []


def test_grpc_calls_a_mixed_service_in_plain_text_and_it_is_said(for_grpc, said):
    assert for_grpc(cluster(True, False)).clusters["c"].tls is None
    assert said == ["clusters/c: plain text: not all endpoints take mutual TLS"]
    assert for_grpc(cluster(False)).clusters["c"].tls is None
    assert len(said) == 1


@pytest.mark.parametrize(
    "validation",
    [
        CertificateValidation(roots=RootFile("/ca")),
        CertificateValidation(roots=SystemRoots(), crl="/crl"),
        None,
    ],
)
def test_grpc_calls_nobody_whom_it_cannot_verify(for_grpc, said, validation):
    snapshot = cluster(True, tls=UpstreamTls(validation=validation), transport_socket_matches=())
    made = for_grpc(snapshot)
    assert made.endpoints["c"].endpoints == ()
    assert made.clusters["c"].tls is None
    assert "cannot be called" in said[0]


def test_an_envoy_has_the_systems_roots_in_a_file(for_envoy, said):
    tls = UpstreamTls(validation=CertificateValidation(roots=SystemRoots()))
    made = for_envoy(cluster(True, tls=tls, transport_socket_matches=())).clusters["c"].tls
    assert made.validation.roots == RootFile("/etc/ssl/certs/ca-certificates.crt")
    assert "/etc/ssl/certs/ca-certificates.crt" in said[0]


def test_an_envoy_fetches_the_keys_of_issuers_by_a_cluster(for_envoy, said):
    def asked(uri):
        provider = JwtProvider(name="p", issuer="i", jwks=RemoteJwks(uri=uri))
        snapshot = for_envoy(gather(listeners=[server(JwtAuthn(providers=(provider,)))]))
        (found,) = configs(snapshot)[0].providers
        return snapshot.clusters[found.jwks.cluster]

    made = asked("https://issuer.example/keys")
    assert made.name == "jwks|443||issuer.example"
    assert made.tls.sni == "issuer.example"
    assert made.tls.validation.match_subject_alt_names[0].match == Exact("issuer.example")
    assert asked("http://issuer.example:80/keys").discovery.load_assignment.endpoints == ()
    assert said == []
    asked("https://issuer.example/.well-known/openid-configuration")
    assert "all tokens of i are refused" in said[0]


def test_the_listener_of_meshlibs_own_servers_is_for_nobody_else(for_envoy, for_grpc):
    own = replace(server(tls=DOOR), name="inbound", address=Address("0.0.0.0", 0))
    assert for_envoy(gather(listeners=[own])).listeners == {}
    assert for_grpc(gather(listeners=[own])).listeners == {}
