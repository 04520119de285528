"""Whether a peer's certificate is to be believed. Looked into once; then it costs microseconds."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock

from .credentials import Bundle, Credentials, UntrustedError

REMEMBERED = 1024
LONGEST_CHAIN = 32 * 1024


class Purpose(StrEnum):
    """What the peer is, to the one who checks it."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a believed certificate says. ``serial`` is lower-case hex; ``subject`` as in RFC 4514.

    ``uri_sans`` is the SPIFFE id alone; ``not_after`` the end of the whole chain.
    """

    spiffe_id: str
    uri_sans: tuple[str, ...]
    dns_sans: tuple[str, ...]
    subject: str
    serial: str
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What does not change about a chain while the roots of its trust domain do not.

    ``deniable``: whatever revokes it: its id, and the serials up to the root.
    """

    trust_domain: str
    roots: tuple[bytes, ...] | None
    leaf: Leaf | None
    deniable: frozenset[str] = frozenset()
    refusal: str = ""


class LeafChecker:
    """Remembers findings by the bytes of the chain, the refusals too. Safe from any thread."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._findings: OrderedDict[tuple[bytes, Purpose | None], Finding] = OrderedDict()
        self._lock = Lock()

    def check(
        self,
        chain: bytes,
        credentials: Credentials,
        now: float,
        purpose: Purpose | None = None,
    ) -> Leaf:
        """``chain``: one certificate in DER, or some in PEM, the leaf first.

        ``purpose`` ``None`` asks for a leaf that is good as both. Raises
        :class:`UntrustedError`. Expiry and revocation are looked at on every call.
        """
        if len(chain) > LONGEST_CHAIN:
            raise UntrustedError(f"a certificate chain of {len(chain)} bytes is too long")
        found = self._finding(chain, credentials, purpose)
        leaf = found.leaf
        if leaf is None:
            raise UntrustedError(found.refusal)
        if not leaf.not_before <= now <= leaf.not_after:
            when = "not valid yet" if now < leaf.not_before else "expired"
            raise UntrustedError(f"the certificate of {leaf.spiffe_id} is {when}")
        if not found.deniable.isdisjoint(credentials.revoked):
            raise UntrustedError(f"the certificate of {leaf.spiffe_id} is revoked")
        return leaf

    def _finding(self, chain: bytes, credentials: Credentials, purpose: Purpose | None) -> Finding:
        key = (chain, purpose)
        with self._lock:
            known = self._findings.get(key)
            if known is not None and known.roots == _roots(credentials, known.trust_domain):
                self._findings.move_to_end(key)
                return known
        fresh = _look(chain, credentials, purpose)
        with self._lock:
            self._findings[key] = fresh
            self._findings.move_to_end(key)
            while len(self._findings) > self._remembered:
                self._findings.popitem(last=False)
        return fresh

    def __len__(self) -> int:
        return len(self._findings)


def check_leaf(
    chain: bytes, credentials: Credentials, now: float, purpose: Purpose | None = None
) -> Leaf:
    """:meth:`LeafChecker.check` of one checker for the whole program."""
    return _shared.check(chain, credentials, now, purpose)


_shared = LeafChecker()


def life_of(chain: bytes) -> tuple[float, frozenset[str]]:
    """When a chain that was believed once ends, and what revokes it, as far as it was shown."""
    from . import leaf_rules

    return leaf_rules.life_of(chain)


def pem_chain(ders: Iterable[bytes]) -> bytes:
    """What ``ssl`` gives of a peer's chain, as :func:`check_leaf` takes it."""
    from ssl import DER_cert_to_PEM_cert

    return "".join(map(DER_cert_to_PEM_cert, ders)).encode()


def _roots(credentials: Credentials, trust_domain: str) -> tuple[bytes, ...] | None:
    bundle: Bundle | None = credentials.bundles.get(trust_domain)
    return None if bundle is None else bundle.roots


def _look(chain: bytes, credentials: Credentials, purpose: Purpose | None) -> Finding:
    from . import leaf_rules

    return leaf_rules.look(chain, credentials.bundles, purpose)
