"""How clients secure their connections: ``tls`` of a trafficPolicy, else mutual TLS by itself."""

from collections.abc import Iterable

from ... import model
from ...model.security import (
    CertificateFiles,
    CertificateSource,
    CertificateValidation,
    RootFile,
    RootSource,
    SanMatcher,
    SanType,
    SdsSecret,
    SystemRoots,
    TransportSocketMatch,
    UpstreamTls,
)
from ..manifests.client_tls import ClientTLSSettings
from .services import Workload

TLS_MODE = "tlsMode"
ISTIO = "istio"
TLS_MODE_LABEL = "security.istio.io/tlsMode"
MATCH_FILTER = "envoy.transport_socket_match"
OWN = SdsSecret("default")
ROOTS = SdsSecret("ROOTCA")
DEFAULT_ACCOUNT = "default"

Sockets = tuple[UpstreamTls | None, tuple[TransportSocketMatch, ...]]
"""``tls`` and ``transport_socket_matches`` of a cluster."""

PLAIN: Sockets = (None, ())


def spiffe_id(trust_domain: str, namespace: str, account: str) -> str:
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{account or DEFAULT_ACCOUNT}"


def identities(workloads: Iterable[Workload], trust_domain: str) -> tuple[str, ...]:
    """Who may answer for a service: the ids of all who serve it."""
    return tuple(
        sorted(
            {
                spiffe_id(trust_domain, one.manifest.namespace, one.entry.service_account)
                for one in workloads
            }
        )
    )


def sockets_of(
    tls: ClientTLSSettings | None, host: str, port: int, subset: str, ids: tuple[str, ...]
) -> Sockets:
    """What is written holds for all; else each endpoint gets what its metadata says it takes."""
    if tls is None:
        return _automatic(host, port, subset, ids)
    match tls.mode:
        case "DISABLE":
            return PLAIN
        case "ISTIO_MUTUAL":
            return _mutual(host, port, subset, tls.subject_alt_names or ids, tls.sni), ()
        case _:
            return _by_files(tls, host), ()


def _automatic(host: str, port: int, subset: str, ids: tuple[str, ...]) -> Sockets:
    istio = model.Struct(((TLS_MODE, ISTIO),))
    return None, (
        TransportSocketMatch(
            name="tlsMode-istio", match=istio, tls=_mutual(host, port, subset, ids)
        ),
        TransportSocketMatch(name="tlsMode-disabled"),
    )


def _mutual(host: str, port: int, subset: str, ids: tuple[str, ...], sni: str = "") -> UpstreamTls:
    sans = tuple(SanMatcher(match=model.Exact(one), san_type=SanType.URI) for one in ids)
    return UpstreamTls(
        validation=CertificateValidation(roots=ROOTS, match_subject_alt_names=sans),
        certificate=OWN,
        sni=sni or f"outbound_.{port}_.{subset}_.{host}",
        alpn_protocols=(ISTIO,),
    )


def _by_files(tls: ClientTLSSettings, host: str) -> UpstreamTls:
    """SIMPLE and MUTUAL. Without names that are wanted, the server must be called as it is."""
    name = tls.sni or host
    wanted = tls.subject_alt_names
    sans = tuple(SanMatcher(match=model.Exact(one)) for one in wanted) or (
        SanMatcher(match=model.Exact(name), san_type=SanType.DNS),
    )
    validation = CertificateValidation(
        roots=_roots(tls), match_subject_alt_names=sans, crl=tls.ca_crl
    )
    return UpstreamTls(validation=validation, certificate=_certificate(tls), sni=name)


def _roots(tls: ClientTLSSettings) -> RootSource:
    if tls.credential_name:
        return SdsSecret(f"kubernetes://{tls.credential_name}-cacert")
    return RootFile(tls.ca_certificates) if tls.ca_certificates else SystemRoots()


def _certificate(tls: ClientTLSSettings) -> CertificateSource | None:
    if tls.mode != "MUTUAL":
        return None
    if tls.credential_name:
        return SdsSecret(f"kubernetes://{tls.credential_name}")
    return CertificateFiles(tls.client_certificate, tls.private_key)
