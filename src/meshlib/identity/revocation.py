"""Serials that a CA took back, from certificate revocation lists (RFC 5280)."""

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from .chain import issued_by
from .credentials import Bundle, IdentityError
from .keys import is_strong

UNREADABLE = (ValueError, x509.DuplicateExtension, x509.InvalidVersion)
LARGEST = 16 * 1024 * 1024
BEGIN = b"-----BEGIN X509 CRL-----"
UNDERSTOOD = (x509.CRLNumber, x509.AuthorityKeyIdentifier)


def revoked_serials(
    lists: bytes, bundles: Iterable[Bundle], now: float, intermediates: bytes = b""
) -> frozenset[str]:
    """The serials, in lower-case hex, of all lists in a file (PEM, or one in DER).

    A list counts only by the signature of a root, or of an intermediate that a root signed.
    Raises :class:`IdentityError` where one cannot be believed or is out of date: who goes by
    lists must not go on as if there were none.
    """
    if len(lists) > LARGEST:
        raise IdentityError(f"a revocation list of more than {LARGEST} bytes")
    issuers = _issuers(bundles, intermediates)
    found = [_serials(one, issuers, now) for one in _load(lists)]
    return frozenset().union(*found)


def _load(lists: bytes) -> list[x509.CertificateRevocationList]:
    try:
        if not lists.lstrip().startswith(b"-----"):
            return [x509.load_der_x509_crl(lists)]
        parts = lists.split(BEGIN)[1:]
        found = [x509.load_pem_x509_crl(BEGIN + part) for part in parts]
    except UNREADABLE as error:
        raise IdentityError("not a certificate revocation list") from error
    if not found:
        raise IdentityError("there is no certificate revocation list in it")
    return found


def _issuers(bundles: Iterable[Bundle], intermediates: bytes) -> list[x509.Certificate]:
    try:
        roots = [
            one
            for bundle in bundles
            for root in bundle.roots
            for one in x509.load_pem_x509_certificates(root)
        ]
        others = x509.load_pem_x509_certificates(intermediates) if intermediates else []
    except UNREADABLE as error:
        raise IdentityError("the issuers of the revocation lists cannot be read") from error
    return [*roots, *[one for one in others if any(issued_by(one, root) for root in roots)]]


def _serials(
    one: x509.CertificateRevocationList, issuers: Sequence[x509.Certificate], now: float
) -> frozenset[str]:
    where = f"the revocation list of {one.issuer.rfc4514_string()!a}"
    if not any(_vouches(issuer, one) for issuer in issuers):
        raise IdentityError(f"{where} is not signed by a CA that is believed here")
    until = one.next_update_utc
    if until is None or until.timestamp() < now:
        raise IdentityError(f"{where} is out of date")
    if one.last_update_utc.timestamp() > now:
        raise IdentityError(f"{where} is of the future")
    try:
        _check_extensions(one, where)
        return frozenset([f"{entry.serial_number:x}" for entry in one])
    except UNREADABLE as error:
        raise IdentityError(f"{where} cannot be read") from error


def _check_extensions(one: x509.CertificateRevocationList, where: str) -> None:
    """Part of a list (a delta, one by reason or by distribution point) says too little."""
    for extension in one.extensions:
        if extension.critical and not isinstance(extension.value, UNDERSTOOD):
            oid = extension.oid.dotted_string
            raise IdentityError(f"{where} has the unknown critical extension {oid}")


def _vouches(issuer: x509.Certificate, one: x509.CertificateRevocationList) -> bool:
    if issuer.subject != one.issuer or not _may_sign_lists(issuer):
        return False
    key = issuer.public_key()
    try:
        strong = isinstance(one.signature_hash_algorithm, SHA256 | SHA384 | SHA512)
        return strong and is_strong(key) and one.is_signature_valid(key)
    except (UnsupportedAlgorithm, TypeError, ValueError):
        return False


def _may_sign_lists(issuer: x509.Certificate) -> bool:
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    return usage.crl_sign and constraints.ca
