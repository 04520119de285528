"""TLS and tokens as Envoy takes them: roots by file, keys of issuers by clusters."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import SplitResult, urlsplit

from ...model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    Exact,
    HttpFilter,
    Listener,
    LocalityLbEndpoints,
    Static,
    StrictDns,
)
from ...model.authn import JwtAuthn, JwtProvider, RemoteJwks
from ...model.security import (
    CertificateValidation,
    RootFile,
    SanMatcher,
    SanType,
    SystemRoots,
    UpstreamTls,
)
from .downgrade import Downgrade, Report

SYSTEM_ROOTS = RootFile("/etc/ssl/certs/ca-certificates.crt")
DISCOVERY = "/.well-known/openid-configuration"
HTTPS = 443


def rooted(cluster: Cluster, report: Report) -> Cluster:
    """Envoy does not know by itself what the system trusts."""
    tls = cluster.tls
    if tls is None or tls.validation is None or tls.validation.roots != SystemRoots():
        return cluster
    said = f"what the system trusts is {SYSTEM_ROOTS.path} for Envoy"
    report(Downgrade(f"clusters/{cluster.name}", said))
    return replace(cluster, tls=replace(tls, validation=_by_file(tls.validation)))


def _by_file(validation: CertificateValidation) -> CertificateValidation:
    return replace(validation, roots=SYSTEM_ROOTS)


def with_issuers(listener: Listener, report: Report) -> tuple[Listener, tuple[Cluster, ...]]:
    """The listener, and clusters by which the keys that it needs are fetched."""
    made: dict[str, Cluster] = {}

    def named(provider: JwtProvider) -> JwtProvider:
        keys = provider.jwks
        if not isinstance(keys, RemoteJwks) or keys.cluster:
            return provider
        cluster = _issuer(urlsplit(keys.uri))
        made[cluster.name] = cluster
        if keys.uri.endswith(DISCOVERY):
            said = f"Envoy does not read {keys.uri}: all tokens of {provider.issuer} are refused"
            report(Downgrade(f"listeners/{listener.name}", said))
        return replace(provider, jwks=replace(keys, cluster=cluster.name))

    def known(one: HttpFilter) -> HttpFilter:
        if not isinstance(one.config, JwtAuthn):
            return one
        providers = tuple(map(named, one.config.providers))
        return replace(one, config=replace(one.config, providers=providers))

    filters = tuple(map(known, listener.http.http_filters))
    listener = replace(listener, http=replace(listener.http, http_filters=filters))
    return listener, tuple(made.values())


def _issuer(uri: SplitResult) -> Cluster:
    """Without TLS nobody is asked: anybody could answer."""
    host, port = uri.hostname or "", uri.port or HTTPS
    name = f"jwks|{port}||{host}"
    places = ClusterLoadAssignment(cluster_name=name, endpoints=tuple(_places(host, port)))
    if uri.scheme != "https" or not host:
        return Cluster(name=name, discovery=Static(ClusterLoadAssignment(cluster_name=name)))
    wanted = SanMatcher(match=Exact(host), san_type=SanType.DNS)
    validation = CertificateValidation(roots=SYSTEM_ROOTS, match_subject_alt_names=(wanted,))
    return Cluster(
        name=name, discovery=StrictDns(places), tls=UpstreamTls(validation=validation, sni=host)
    )


def _places(host: str, port: int) -> Iterator[LocalityLbEndpoints]:
    yield LocalityLbEndpoints(lb_endpoints=(Endpoint(address=Address(host, port)),))
