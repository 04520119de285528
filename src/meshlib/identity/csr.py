"""Certificate signing requests: proof that the sender holds a key, and not a word of who it is."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from .credentials import IdentityError
from .keys import PublicKey, is_strong, weak
from .spiffe import SpiffeId

UNREADABLE = (ValueError, TypeError, x509.DuplicateExtension, x509.InvalidVersion)
LARGEST = 16 * 1024


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """``uri_sans`` are what the sender calls itself, for those who compare it with what they
    know; nothing is made of it."""

    public_key: PublicKey
    uri_sans: tuple[str, ...] = ()

    def check_asks_for(self, spiffe_id: SpiffeId) -> None:
        """Refuse where the sender calls itself otherwise than the one who authenticated it."""
        if self.uri_sans not in ((), (str(spiffe_id),)):
            raise _refused(f"it is not for {spiffe_id}")


def parse_csr(text: bytes) -> SigningRequest:
    """From PEM or DER. Raises :class:`IdentityError` for whatever is not plainly a request."""
    if len(text) > LARGEST:
        raise _refused(f"{len(text)} bytes are more than {LARGEST}")
    try:
        request = _load(text)
        key = request.public_key()
        uri_sans = _asked(request)
        signed = request.is_signature_valid
        digest = request.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        raise _refused("its key or signature is of a kind not known here") from error
    except UNREADABLE as error:
        raise _refused("it cannot be read") from error
    if not is_strong(key):
        raise _refused(weak(key))
    if not isinstance(digest, SHA256 | SHA384 | SHA512):
        raise _refused("its signature is made with a weak digest")
    if not signed:
        raise _refused("its signature is not by its own key")
    return SigningRequest(key, uri_sans)


def _load(text: bytes) -> x509.CertificateSigningRequest:
    if not text.lstrip().startswith(b"-----"):
        return x509.load_der_x509_csr(text)
    if text.count(b"-----BEGIN ") != 1:
        raise _refused("it must be alone")
    return x509.load_pem_x509_csr(text)


def _asked(request: x509.CertificateSigningRequest) -> tuple[str, ...]:
    for attribute in request.attributes:
        if attribute.oid != _EXTENSION_REQUEST:
            raise _refused(f"it has the attribute {attribute.oid.dotted_string}")
    found: tuple[str, ...] = ()
    for extension in request.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise _refused("it asks to become a CA")
        if not isinstance(value, x509.SubjectAlternativeName):
            raise _refused(f"it asks for the extension {extension.oid.dotted_string}")
        found = tuple(str(name.value) for name in value)
        if not all(isinstance(name, x509.UniformResourceIdentifier) for name in value):
            raise _refused("it asks for names other than URIs")
    return found


_EXTENSION_REQUEST = x509.ObjectIdentifier("1.2.840.113549.1.9.14")


def _refused(why: str) -> IdentityError:
    return IdentityError(f"the signing request is refused: {why}")
