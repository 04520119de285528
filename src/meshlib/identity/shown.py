"""What may be told of certificates: whose they are, and how long they last."""

from dataclasses import dataclass

from cryptography import x509

from .certificates import ends, starts
from .leaf_rules import UNREADABLE
from .sources import split

Names = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """``serial`` is lower-case hex, ``names`` the subject's other names by kind (``dns``, ``uri``,
    ``ip_address``), ``subject`` as in RFC 4514. Times are on the wall clock."""

    serial: str
    names: Names
    subject: str
    not_before: float
    not_after: float


def shown(pem: bytes) -> tuple[Shown, ...]:
    """Each certificate of a file, in its order; keys beside them are passed over.

    One that cannot be read has ended long ago, and says why where its subject would be.
    """
    return tuple(map(_shown, split(pem)))


def _shown(pem: bytes) -> Shown:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        return _read(certificate)
    except UNREADABLE as error:
        said = f"not readable: {error}"
        return Shown(serial="", names=(), subject=said, not_before=0.0, not_after=0.0)


def _read(certificate: x509.Certificate) -> Shown:
    return Shown(
        serial=f"{certificate.serial_number:x}",
        names=_names(certificate),
        subject=certificate.subject.rfc4514_string(),
        not_before=starts(certificate),
        not_after=ends(certificate),
    )


def _names(certificate: x509.Certificate) -> Names:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return (
        *(("dns", name) for name in found.get_values_for_type(x509.DNSName)),
        *(("uri", name) for name in found.get_values_for_type(x509.UniformResourceIdentifier)),
        *(("ip_address", str(one)) for one in found.get_values_for_type(x509.IPAddress)),
    )
