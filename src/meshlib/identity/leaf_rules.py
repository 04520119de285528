"""X509-SVID's rules for a leaf, and the way from it to a root of its own trust domain."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .certificates import ends, starts
from .chain import path_to_root
from .credentials import Bundle, IdentityError, UntrustedError
from .keys import weak
from .leaf import REMEMBERED, Finding, Leaf, Purpose
from .names import derived_name, is_reserved
from .spiffe import SpiffeId

MOST_CERTIFICATES = 8
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    Warning,  # where the application turns them into errors
)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
PURPOSES = {Purpose.CLIENT: (CLIENT,), Purpose.SERVER: (SERVER,), None: (CLIENT, SERVER)}
NAMES = {CLIENT: "a client", SERVER: "a server"}
SHOWN = 80
UNDERSTOOD = (
    x509.SubjectAlternativeName,
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
)


def look(chain: bytes, bundles: Mapping[str, Bundle], purpose: Purpose | None) -> Finding:
    """Never raises: a refusal is a finding as well."""
    domain = ""
    roots: tuple[bytes, ...] | None = None
    try:
        certificates = _load(chain)
        spiffe_id, dns_sans = _names(certificates[0])
        domain = str(spiffe_id.trust_domain)
        roots = bundles[domain].roots if domain in bundles else None
        _check_leaf(certificates[0], purpose)
        trusted = _trusted(domain, roots)
        path = path_to_root(certificates[0], certificates[1:], trusted, PURPOSES[purpose])
    except UntrustedError as refused:
        return Finding(domain, roots, None, refusal=str(refused))
    except UNREADABLE:
        return Finding(domain, roots, None, refusal="the certificate cannot be read")
    return _believed(spiffe_id, dns_sans, path, roots)


def _believed(
    spiffe_id: SpiffeId,
    dns_sans: tuple[str, ...],
    path: Sequence[x509.Certificate],
    roots: tuple[bytes, ...] | None,
) -> Finding:
    serials = [f"{one.serial_number:x}" for one in path]
    leaf = Leaf(
        spiffe_id=str(spiffe_id),
        uri_sans=(str(spiffe_id),),
        dns_sans=dns_sans,
        subject=path[0].subject.rfc4514_string(),
        serial=serials[0],
        not_before=max(map(starts, path)),
        not_after=min(map(ends, path)),
    )
    deniable = frozenset([leaf.spiffe_id, *serials])
    return Finding(str(spiffe_id.trust_domain), roots, leaf, deniable)


@lru_cache(REMEMBERED)
def life_of(chain: bytes) -> tuple[float, frozenset[str]]:
    certificates = _load(chain)
    serials = [f"{one.serial_number:x}" for one in certificates]
    spiffe_id, _ = _names(certificates[0])
    return min(map(ends, certificates)), frozenset([str(spiffe_id), *serials])


def _load(chain: bytes) -> list[x509.Certificate]:
    if not chain.lstrip().startswith(b"-----"):
        return [x509.load_der_x509_certificate(chain)]
    found = x509.load_pem_x509_certificates(chain)
    if len(found) > MOST_CERTIFICATES:
        raise UntrustedError(f"the peer sent {len(found)} certificates")
    return found


def _trusted(domain: str, roots: Sequence[bytes] | None) -> list[x509.Certificate]:
    if roots is None:
        raise UntrustedError(f"nobody here knows the trust domain {domain}")
    try:
        return [one for root in roots for one in x509.load_pem_x509_certificates(root)]
    except UNREADABLE:
        raise UntrustedError(f"the roots of {domain} cannot be read") from None


def _names(leaf: x509.Certificate) -> tuple[SpiffeId, tuple[str, ...]]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        raise UntrustedError("the certificate has no subject alternative name") from None
    if not leaf.subject.rdns and not extension.critical:
        raise UntrustedError("the certificate has neither a subject nor a critical SAN")
    uris = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise UntrustedError(f"the certificate has {len(uris)} URI SANs, and must have one")
    spiffe_id = _spiffe_id(uris[0])
    dns_sans = tuple(extension.value.get_values_for_type(x509.DNSName))
    common = [str(one.value) for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    expected = derived_name(spiffe_id)
    for name in dns_sans:
        if not name.isprintable() or (is_reserved(name) and name != expected):
            raise UntrustedError(f"the certificate has the DNS SAN {name[:SHOWN]!a}")
    if any(is_reserved(name) for name in common):
        raise UntrustedError("the certificate has a derived name as its common name")
    return spiffe_id, dns_sans


def _spiffe_id(uri: str) -> SpiffeId:
    try:
        found = SpiffeId.parse(uri)
    except IdentityError as wrong:
        raise UntrustedError(str(wrong)) from wrong
    if str(found) != uri:
        raise UntrustedError(f"the URI SAN {uri!a} is not written as {found}")
    if not found.path:
        raise UntrustedError(f"{found} names the trust domain, and nobody in it")
    return found


def _check_leaf(leaf: x509.Certificate, purpose: Purpose | None) -> None:
    if leaf.version is not x509.Version.v3:
        raise UntrustedError("the certificate is not of X.509 version 3")
    if leaf.serial_number <= 0:
        raise UntrustedError("the certificate's serial number is not positive")
    if weakness := weak(leaf.public_key()):
        raise UntrustedError(f"the certificate has {weakness}")
    usage: x509.KeyUsage | None = None
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise UntrustedError("the certificate is that of a CA")
        if isinstance(value, x509.ExtendedKeyUsage):
            _check_purpose(value, purpose)
        if isinstance(value, x509.KeyUsage) and extension.critical:
            usage = value
        if extension.critical and not isinstance(value, UNDERSTOOD):
            oid = extension.oid.dotted_string
            raise UntrustedError(f"the certificate has the unknown critical extension {oid}")
    if usage is None or not usage.digital_signature:
        raise UntrustedError("the certificate's key usage is not critical, or does not sign")
    if usage.key_cert_sign or usage.crl_sign:
        raise UntrustedError("the certificate's key usage is that of a CA")


def _check_purpose(usage: x509.ExtendedKeyUsage, purpose: Purpose | None) -> None:
    for wanted in PURPOSES[purpose]:
        if wanted not in usage:
            raise UntrustedError(f"the certificate is not meant for {NAMES[wanted]}")
