"""How clients secure their connections: ``tls`` of a trafficPolicy, else mutual TLS by itself."""

from dataclasses import dataclass

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

TLS_MODE = "tlsMode"
ISTIO = "istio"
OWN = SdsSecret("default")
ROOTS = SdsSecret("ROOTCA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """Where a cluster leads: ``sni`` is what Istio's gateways between networks go by.

    ``names``: by which those who answer may prove themselves, where the rule says none.
    """

    host: str
    sni: str
    names: tuple[str, ...]
    is_http2: bool


def written(tls: ClientTLSSettings, called: Called) -> UpstreamTls | None:
    """What a rule says; it holds for all endpoints alike. ``None``: plain text."""
    match tls.mode:
        case "DISABLE":
            return None
        case "ISTIO_MUTUAL":
            return _mutual(called, tls.subject_alt_names or called.names, tls.sni)
        case _:
            return _by_files(tls, called)


def automatic(called: Called) -> tuple[TransportSocketMatch, ...]:
    """Each endpoint gets what its metadata says it takes."""
    istio = model.Struct(((TLS_MODE, ISTIO),))
    mutual = _mutual(called, called.names)
    return (
        TransportSocketMatch(name="tlsMode-istio", match=istio, tls=mutual),
        TransportSocketMatch(name="tlsMode-disabled"),
    )


def _mutual(called: Called, names: tuple[str, ...], sni: str = "") -> UpstreamTls:
    sans = tuple(SanMatcher(match=model.Exact(one), san_type=_kind(one)) for one in names)
    return UpstreamTls(
        validation=CertificateValidation(roots=ROOTS, match_subject_alt_names=sans),
        certificate=OWN,
        sni=sni or called.sni,
        # What speaks HTTP/2 alone, as gRPC does, must hear of it.
        alpn_protocols=(ISTIO, "h2") if called.is_http2 else (ISTIO,),
    )


def _kind(name: str) -> SanType:
    return SanType.URI if "://" in name else SanType.DNS


def _by_files(tls: ClientTLSSettings, called: Called) -> UpstreamTls:
    """SIMPLE and MUTUAL. Without names that are wanted, the server must be called as it is."""
    name = tls.sni or called.host
    wanted = tls.subject_alt_names or called.names
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
