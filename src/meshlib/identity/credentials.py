"""What a member shows of itself and whom it believes, as one value that is swapped as a whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from ..errors import MeshError

Forget = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Svid:
    """An X.509-SVID: PEM, the leaf first; ``not_before`` and ``not_after`` on the wall clock."""

    spiffe_id: str
    certificate_chain: bytes
    private_key: bytes = field(repr=False)
    not_before: float
    not_after: float
    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The roots of one trust domain, each in PEM; none at all revokes everything."""

    trust_domain: str
    roots: tuple[bytes, ...]
    sequence: int = 0

    @property
    def pem(self) -> bytes:
        return b"".join(self.roots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """``svid`` ``None``: this member can verify others, but shows nothing of its own.

    ``bundles`` by trust domain: a chain counts only by the roots of the domain that its leaf
    names. ``revoked`` holds serials (lower-case hex) and SPIFFE ids. ``derived_names``: the CA
    gives every leaf the DNS name that :func:`meshlib.identity.names.derived_name` says.
    """

    svid: Svid | None = None
    bundles: Mapping[str, Bundle] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()
    derived_names: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "bundles", MappingProxyType(dict(self.bundles)))


class CredentialSource(Protocol):
    """Where credentials come from: our CA, files, SDS, the SPIFFE Workload API.

    Safe from any thread. A source that fails keeps the last good ones until they expire, and
    says so in ``status``.
    """

    def start(self) -> None:
        """Begin to fetch and renew; a second time does nothing."""

    def close(self) -> None: ...

    def current(self) -> Credentials | None:
        """The newest good ones; ``None`` before there were any."""

    def watch(self, news: Callable[[Credentials], None]) -> Forget:
        """Call ``news`` with each new set, from any thread; at once where there is one."""

    def status(self) -> Mapping[str, object]:
        """Kind, id, serial, expiry, last error; no secrets."""


class UntrustedError(MeshError):
    """A certificate that must not be believed; says why, and never shows a key."""


class IdentityError(MeshError):
    """Something about keys, ids or the CA is not as it must be."""
