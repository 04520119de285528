"""What a connection is secured with: certificate, key and roots, from wherever they are said to be.

One value per place and state: as long as it is the very same object, nothing has changed.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..clock import Clock
from ..model.security import (
    CertificateFiles,
    CertificateProviderInstance,
    CertificateSource,
    RootFile,
    RootSource,
    SdsSecret,
    Secret,
    SystemRoots,
)
from .credentials import Credentials, CredentialSource, IdentityError
from .private_files import read_private_file

OWN_CERTIFICATE = "default"
OWN_ROOTS = "ROOTCA"
"""How the secrets of a member itself are called, as Istio has it."""
LOOKED_AT_EVERY = 1.0
"""Seconds between two looks at files."""
Secrets = Callable[[str], Secret | None]
Stamp = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """All PEM. ``credentials`` are there where the peer is a member of the mesh, whose SVID has to
    be checked against the roots of its own trust domain; ``roots`` ``None`` are the system's.

    ``crl``: the path of a file with revocation lists.
    """

    certificate_chain: bytes = b""
    private_key: bytes = field(default=b"", repr=False)
    roots: bytes | None = None
    credentials: Credentials | None = None
    crl: str = ""


Wanted = tuple[CertificateSource | None, RootSource | None, str]


def no_secrets(_name: str) -> Secret | None:
    return None


class Materials:
    """Safe from any thread."""

    def __init__(
        self,
        source: Callable[[], CredentialSource | None],
        clock: Clock,
        secrets: Secrets = no_secrets,
    ) -> None:
        self._source = source
        self._clock = clock
        self._secrets = secrets
        self.reset()
        self._known: dict[Wanted, tuple[Stamp, Material]] = {}
        self._looked: dict[str, tuple[float, Stamp]] = {}

    def reset(self) -> None:
        """In a forked child the lock is the parent's."""
        self._lock = threading.Lock()

    def of(
        self, certificate: CertificateSource | None, roots: RootSource | None, crl: str = ""
    ) -> Material:
        """Raises :class:`IdentityError` that says what is missing."""
        wanted = certificate, roots, crl
        with self._lock:
            stamp = self._stamp(wanted)
            known = self._known.get(wanted)
            if known is not None and _same(known[0], stamp):
                return known[1]
            made = self._made(wanted)
            self._known[wanted] = stamp, made
            return made

    def held(self) -> tuple[tuple[Wanted, Material], ...]:
        """All that was wanted so far, as it was when it was wanted last."""
        with self._lock:
            return tuple((wanted, material) for wanted, (_, material) in self._known.items())

    def credentials(self) -> Credentials:
        source = self._source()
        found = None if source is None else source.current()
        if found is None:
            words = "it has no CA" if source is None else "it has no credentials yet"
            raise IdentityError(f"this member cannot prove who it is: {words}")
        return found

    def _stamp(self, wanted: Wanted) -> Stamp:
        certificate, roots, crl = wanted
        stamp: Stamp = ()
        if is_own(certificate) or is_own(roots):
            stamp += (self.credentials(),)
        for source in (certificate, roots):
            match source:
                case SdsSecret(name) if not is_own(source):
                    stamp += (self._secret(name),)
                case CertificateFiles(chain, key):
                    stamp += (*self._look(chain), *self._look(key))
                case RootFile(path):
                    stamp += self._look(path)
                case _:
                    pass
        return (*stamp, *self._look(crl)) if crl else stamp

    def _look(self, path: str) -> Stamp:
        """What tells one state of a file from another; looked up once a second."""
        now = self._clock()
        known = self._looked.get(path)
        if known is not None and now - known[0] < LOOKED_AT_EVERY:
            return known[1]
        try:
            found = Path(path).stat()
        except OSError as error:
            if known is not None:  # the last good one serves on
                return known[1]
            raise IdentityError(f"{path}: {error.strerror}") from error
        stamp = (path, found.st_ino, found.st_mtime_ns, found.st_size)
        self._looked[path] = now, stamp
        return stamp

    def _secret(self, name: str) -> Secret:
        found = self._secrets(name)
        if found is None:
            raise IdentityError(f"the secret {name!r} is not there")
        return found

    def _made(self, wanted: Wanted) -> Material:
        certificate, roots, crl = wanted
        chain, key = self._shown(certificate)
        believed = self._believed(roots)
        return Material(
            certificate_chain=chain,
            private_key=key,
            roots=believed,
            credentials=self.credentials() if is_own(roots) else None,
            crl=crl,
        )

    def _shown(self, source: CertificateSource | None) -> tuple[bytes, bytes]:
        match source:
            case None:
                return b"", b""
            case CertificateFiles(chain, key):
                return _read(chain), read_private_file(Path(key))
            case SdsSecret(name) if not is_own(source):
                secret = self._secret(name)
                if not secret.private_key:
                    raise IdentityError(f"the secret {name!r} is no certificate with its key")
                return secret.certificate_chain, secret.private_key
        svid = self.credentials().svid
        if svid is None:
            raise IdentityError("this member has no certificate of its own")
        return svid.certificate_chain, svid.private_key

    def _believed(self, source: RootSource | None) -> bytes | None:
        match source:
            case None:
                return b""
            case SystemRoots():
                return None
            case RootFile(path):
                roots = _read(path)
            case SdsSecret(name) if not is_own(source):
                roots = self._secret(name).trusted_ca
            case _:
                roots = b"".join(bundle.pem for bundle in self.credentials().bundles.values())
        if not roots.strip():
            raise IdentityError("there are no roots, so nobody can be believed")
        return roots


def is_own(source: CertificateSource | RootSource | None) -> bool:
    """Whether it is the member's own, by which the mesh knows it and it knows the mesh."""
    match source:
        case CertificateProviderInstance():
            return True
        case SdsSecret(name):
            return name in (OWN_CERTIFICATE, OWN_ROOTS)
        case _:
            return False


def _same(before: Stamp, now: Stamp) -> bool:
    """Credentials and secrets by identity: they hold keys, and are never changed in place."""
    return len(before) == len(now) and all(
        one is other or (isinstance(one, str | int) and one == other)
        for one, other in zip(before, now, strict=True)
    )


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from error
