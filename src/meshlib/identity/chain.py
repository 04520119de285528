"""From a leaf to one of the given roots, and to no other."""

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.x509.oid import ExtendedKeyUsageOID

from .credentials import UntrustedError
from .keys import weak

LONGEST = 5
"""Certificates between the leaf and its root, at most."""
MOST_SIGNATURES = 32
"""Looked at for one chain: whoever sends a thicket pays with a refusal."""
SHOWN = 80
UNDERSTOOD = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
)


def path_to_root(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    purposes: Sequence[x509.ObjectIdentifier],
) -> list[x509.Certificate]:
    """The leaf, what is between, and the root; raises :class:`UntrustedError` if there is none.

    ``purposes`` is what each CA on the way must be meant for, if it says what it is meant for.
    Validity in time is not looked at: it changes, and the rest does not.
    """
    return _Search(intermediates, roots, purposes).extend([leaf])


class _Search:
    def __init__(
        self,
        intermediates: Sequence[x509.Certificate],
        roots: Sequence[x509.Certificate],
        purposes: Sequence[x509.ObjectIdentifier],
    ) -> None:
        self._purposes = purposes
        self._intermediates = intermediates
        self._roots = roots
        self._looked = 0
        self._why = "no root of its trust domain vouches for the certificate"

    def extend(self, path: list[x509.Certificate]) -> list[x509.Certificate]:
        found = self._step(path)
        if found is None:
            raise UntrustedError(self._why)
        return found

    def _step(self, path: list[x509.Certificate]) -> list[x509.Certificate] | None:
        for root in self._roots:
            if self._issued(path, root):
                return [*path, root]
        if len(path) > LONGEST:
            return None
        for one in self._intermediates:
            if one not in path and self._issued(path, one):
                found = self._step([*path, one])
                if found is not None:
                    return found
        return None

    def _issued(self, path: list[x509.Certificate], issuer: x509.Certificate) -> bool:
        last = path[-1]
        if last.issuer != issuer.subject:
            return False
        self._looked += 1
        if self._looked > MOST_SIGNATURES:
            raise UntrustedError("too many certificates of the same name in the chain")
        if not isinstance(last.signature_hash_algorithm, SHA256 | SHA384 | SHA512):
            self._why = "the certificate, or one above it, is signed with a weak digest"
            return False
        flaw = _flaw(issuer, len(path) - 1, self._purposes)
        if flaw:
            self._why = f"{issuer.subject.rfc4514_string()[:SHOWN]!a} cannot vouch: {flaw}"
            return False
        return issued_by(last, issuer)


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """By name and signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _flaw(issuer: x509.Certificate, below: int, purposes: Sequence[x509.ObjectIdentifier]) -> str:
    """Why it may not sign, with so many other CAs below it; "" where it may."""
    if weakness := weak(issuer.public_key()):
        return weakness
    constraints: x509.BasicConstraints | None = None
    for extension in issuer.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            constraints = value
        if isinstance(value, x509.KeyUsage) and not value.key_cert_sign:
            return "its key usage is not to sign certificates"
        if isinstance(value, x509.ExtendedKeyUsage) and not _covers(value, purposes):
            return "it is not meant for this"
        if isinstance(value, x509.NameConstraints):
            return "it has name constraints, which are not evaluated here"
        if extension.critical and not isinstance(value, UNDERSTOOD):
            return f"it has the unknown critical extension {extension.oid.dotted_string}"
    if constraints is None or not constraints.ca:
        return "it is not a CA"
    if constraints.path_length is not None and below > constraints.path_length:
        return "there are more CAs below it than it allows"
    return ""


def _covers(usage: x509.ExtendedKeyUsage, purposes: Sequence[x509.ObjectIdentifier]) -> bool:
    every = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage
    return every or all(purpose in usage for purpose in purposes)
