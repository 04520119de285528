"""Transport security as data (``envoy.extensions.transport_sockets.tls.v3``)."""

from dataclasses import dataclass, field
from enum import StrEnum

from .matcher import StringMatcher
from .metadata import Struct


@dataclass(frozen=True, slots=True)
class SdsSecret:
    """A secret that is discovered by this name, from whom the configuration comes."""

    name: str


@dataclass(frozen=True, slots=True)
class CertificateProviderInstance:
    """A provider of the bootstrap (gRFC A29); ``certificate_name`` is for the provider to read."""

    instance_name: str
    certificate_name: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Paths of PEM files; they are read again when they change."""

    certificate_chain: str
    private_key: str


@dataclass(frozen=True, slots=True)
class RootFile:
    """Path of a PEM file with the roots; read again when it changes."""

    path: str


@dataclass(frozen=True, slots=True)
class SystemRoots:
    """What the operating system trusts (gRFC A82)."""


CertificateSource = SdsSecret | CertificateProviderInstance | CertificateFiles
RootSource = SdsSecret | CertificateProviderInstance | RootFile | SystemRoots


class SanType(StrEnum):
    """Of which kind a subject alternative name is; kinds are never mixed (CVE-2022-21656)."""

    URI = "URI"
    DNS = "DNS"
    EMAIL = "EMAIL"
    IP_ADDRESS = "IP_ADDRESS"


@dataclass(frozen=True, slots=True, kw_only=True)
class SanMatcher:
    """``san_type`` ``None``: any kind, as gRFC A29 has it (``match_subject_alt_names``)."""

    match: StringMatcher
    san_type: SanType | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateValidation:
    """Whom to believe. Without ``match_subject_alt_names`` every certificate of the roots will do.

    ``crl`` is the path of a file with revocation lists, "" for none.
    """

    roots: RootSource
    match_subject_alt_names: tuple[SanMatcher, ...] = ()
    crl: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTls:
    """``UpstreamTlsContext``: how a client secures its connections.

    ``sni`` "" says none, unless ``auto_host_sni`` takes the endpoint's ``hostname``.
    ``validation`` ``None`` verifies nothing, which is refused wherever it is met.
    """

    validation: CertificateValidation | None = None
    certificate: CertificateSource | None = None
    sni: str = ""
    auto_host_sni: bool = False
    alpn_protocols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DownstreamTls:
    """``DownstreamTlsContext``: how a server secures those of its clients."""

    certificate: CertificateSource
    validation: CertificateValidation | None = None
    require_client_certificate: bool = False
    alpn_protocols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSocketMatch:
    """``tls`` (``None``: plain text) is for endpoints whose metadata
    ``envoy.transport_socket_match`` has all fields of ``match``; the first that fits holds."""

    name: str
    match: Struct = Struct()
    tls: UpstreamTls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """``envoy.extensions.transport_sockets.tls.v3.Secret``: a certificate with its key, or roots.

    All in PEM. The key is never shown.
    """

    name: str
    certificate_chain: bytes = b""
    private_key: bytes = field(default=b"", repr=False)
    trusted_ca: bytes = b""
