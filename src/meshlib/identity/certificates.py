"""The three kinds of certificates that our CA makes. What is in them is decided by the caller."""

from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .credentials import IdentityError
from .keys import PublicKey
from .names import derived_name, is_reserved
from .spiffe import SpiffeId, TrustDomain

Signer = tuple[x509.Certificate, EllipticCurvePrivateKey]


def make_root(
    key: EllipticCurvePrivateKey, name: str, domain: TrustDomain, start: float, end: float
) -> x509.Certificate:
    subject = _subject(f"meshlib root {name}")
    builder = _builder(key.public_key(), subject, subject, start, end)
    return _authority(builder, domain, path_length=1).sign(key, SHA256())


def make_intermediate(
    public_key: PublicKey, name: str, domain: TrustDomain, root: Signer, start: float, end: float
) -> x509.Certificate:
    subject = _subject(f"meshlib intermediate {name}")
    builder = _builder(public_key, subject, root[0].subject, start, end)
    return _issued(_authority(builder, domain, path_length=0), root).sign(root[1], SHA256())


def make_leaf(
    public_key: PublicKey,
    spiffe_id: SpiffeId,
    issuer: Signer,
    start: float,
    end: float,
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    """One URI SAN and the DNS SAN derived of it; no subject, so nothing else can be believed.

    ``hosts``: DNS names and IP addresses as which it answers besides.
    """
    names = [
        x509.UniformResourceIdentifier(str(spiffe_id)),
        x509.DNSName(derived_name(spiffe_id)),
        *map(_host, hosts),
    ]
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(public_key, x509.Name([]), issuer[0].subject, start, end)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(leaf=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    )
    return _issued(builder, issuer).sign(issuer[1], SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def roots_of(bundle: bytes) -> tuple[bytes, ...]:
    """Each in PEM; none of an empty bundle. Raises :class:`IdentityError` for what is none."""
    if not bundle.strip():
        return ()
    try:
        found = x509.load_pem_x509_certificates(bundle)
        are_roots = [_is_authority(one) for one in found]
    except ValueError as error:
        raise IdentityError(f"not a bundle of certificates: {error}") from error
    if not all(are_roots):
        raise IdentityError("one of the certificates is no root: it may not sign others")
    return tuple(dict.fromkeys(map(pem, found)))


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return found.value.ca


def starts(certificate: x509.Certificate) -> float:
    return certificate.not_valid_before_utc.timestamp()


def ends(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _builder(
    public_key: PublicKey, subject: x509.Name, issuer: x509.Name, start: float, end: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(int(start), UTC))
        .not_valid_after(datetime.fromtimestamp(int(end), UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _authority(
    builder: x509.CertificateBuilder, domain: TrustDomain, path_length: int
) -> x509.CertificateBuilder:
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    names = [x509.UniformResourceIdentifier(domain.id)]
    return (
        builder.add_extension(constraints, critical=True)
        .add_extension(_usage(leaf=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )


def _issued(builder: x509.CertificateBuilder, issuer: Signer) -> x509.CertificateBuilder:
    found = issuer[0].extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    named = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)
    return builder.add_extension(named, critical=False)


def _usage(*, leaf: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=leaf,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(name: str) -> x509.GeneralName:
    if is_reserved(name):
        raise IdentityError(f"{name!a} stands for a SPIFFE id, and is nobody's to choose")
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
