"""The keys and certificates behind the slots, in the CA's store."""

from math import inf

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from .certificates import Signer, ends, make_intermediate, make_root, pem, starts
from .credentials import IdentityError
from .keys import load_key, new_key, private_pem
from .slots import BACKDATE, Schedule, Slot
from .spiffe import TrustDomain
from .store import Store

BEGIN = b"-----BEGIN CERTIFICATE-----"


class SlotFiles:
    """``root-NAME.pem`` and ``issuer-NAME.pem``, each a key and its certificate in one file, so
    that they cannot come apart. An old slot keeps the certificate of its root alone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._roots: dict[str, x509.Certificate] = {}
        self._issuers: dict[str, Signer] = {}

    def forget(self) -> None:
        """Read again what is asked for next."""
        self._roots.clear()
        self._issuers.clear()

    def root(self, slot: Slot) -> x509.Certificate:
        found = self._roots.get(slot.name)
        if found is None:
            found = self._roots[slot.name] = _certificate(*self._read(_root(slot.name)))
        return found

    def issuer(self, slot: Slot) -> Signer:
        found = self._issuers.get(slot.name)
        if found is None:
            found = self._issuers[slot.name] = self._signer(_issuer(slot.name))
        return found

    def make(
        self, name: str, domain: TrustDomain, schedule: Schedule, now: float
    ) -> x509.Certificate:
        """A root that nobody knows yet, and its intermediate."""
        key = new_key()
        end = now + schedule.root_life
        certificate = make_root(key, name, domain, now - BACKDATE, end)
        self._store.write(_root(name), private_pem(key) + pem(certificate))
        self._issue(name, domain, (certificate, key), schedule, now)
        return certificate

    def renewal(self, slot: Slot) -> float:
        """When half of the intermediate's life is over; never where it ends with its root."""
        certificate = self.issuer(slot)[0]
        if ends(certificate) >= slot.not_after:
            return inf
        return (starts(certificate) + BACKDATE + ends(certificate)) / 2

    def renew(self, slot: Slot, domain: TrustDomain, schedule: Schedule, now: float) -> None:
        """Another intermediate, with a key of its own, under the same root."""
        self._issue(slot.name, domain, self._signer(_root(slot.name)), schedule, now)

    def retire(self, slot: Slot) -> None:
        """Nothing is signed under an old root any more, by anybody."""
        self._store.write(_root(slot.name), pem(self.root(slot)))
        self._store.remove(_issuer(slot.name))
        self._issuers.pop(slot.name, None)

    def remove(self, name: str) -> None:
        self._store.remove(_issuer(name))
        self._store.remove(_root(name))
        self._issuers.pop(name, None)
        self._roots.pop(name, None)

    def _issue(
        self, name: str, domain: TrustDomain, root: Signer, schedule: Schedule, now: float
    ) -> None:
        key = new_key()
        start = max(now - BACKDATE, starts(root[0]))
        end = min(now + schedule.intermediate_life, ends(root[0]))
        certificate = make_intermediate(key.public_key(), name, domain, root, start, end)
        self._store.write(_issuer(name), private_pem(key) + pem(certificate))
        self._issuers.pop(name, None)

    def _signer(self, name: str) -> Signer:
        text, where = self._read(name)
        certificate = _certificate(text, where)
        key = load_key(text.partition(BEGIN)[0], where)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise IdentityError(f"{where}: its key is not an EC key")
        if key.public_key() != certificate.public_key():
            raise IdentityError(f"{where}: its key is not that of its certificate")
        return certificate, key

    def _read(self, name: str) -> tuple[bytes, str]:
        text = self._store.read(name)
        if text is None:
            raise IdentityError(f"{name} is missing from the CA's folder")
        return text, name


def _certificate(text: bytes, where: str) -> x509.Certificate:
    _, begin, rest = text.partition(BEGIN)
    try:
        return x509.load_pem_x509_certificate(begin + rest)
    except (ValueError, x509.InvalidVersion) as error:
        raise IdentityError(f"{where}: there is no certificate in it") from error


def _root(name: str) -> str:
    return f"root-{name}.pem"


def _issuer(name: str) -> str:
    return f"issuer-{name}.pem"
