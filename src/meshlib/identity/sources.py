"""Where a member has its credentials from, when no CA of the mesh gives them out."""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..clock import Clock
from .credentials import Bundle, Credentials, Forget, IdentityError, Svid
from .private_files import read_private_file

log = logging.getLogger("meshlib")

PAUSE = 1.0
"""Seconds between two looks at files."""
News = Callable[[Credentials], None]


class Feed:
    """The newest credentials, and those who want to hear of newer ones. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Credentials | None = None
        self._watches: dict[object, News] = {}

    def current(self) -> Credentials | None:
        return self._current

    def put(self, credentials: Credentials) -> None:
        with self._lock:
            self._current = credentials
            watches = [*self._watches.values()]
        for news in watches:
            news(credentials)

    def watch(self, news: News) -> Forget:
        key = object()
        with self._lock:
            self._watches[key] = news
            current = self._current
        if current is not None:
            news(current)

        def forget() -> None:
            with self._lock:
                self._watches.pop(key, None)

        return forget

    def shown(self) -> dict[str, object]:
        """What may be told of them: nothing secret."""
        current = self._current
        told: dict[str, object] = {"trust_domains": sorted(current.bundles) if current else []}
        svid = None if current is None else current.svid
        if svid is not None:
            told |= {
                "spiffe_id": svid.spiffe_id,
                "serial": f"{svid.serial:x}",
                "not_after": svid.not_after,
            }
        return told


class StaticSource(Feed):
    """Credentials that somebody else puts here: tests, or who discovers secrets."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        super().__init__()
        self._current = credentials

    def start(self) -> None:
        """Nothing is to be fetched."""

    def close(self) -> None:
        """Nothing is held open."""

    def status(self) -> Mapping[str, object]:
        return {"kind": "static", **self.shown()}


@dataclass(frozen=True, slots=True)
class Files:
    """PEM files. ``roots`` are those of the trust domain of the certificate's own SPIFFE id;
    ``federated``: files with the roots of others, by trust domain."""

    certificate_chain: Path
    private_key: Path
    roots: Path
    federated: tuple[tuple[str, Path], ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        return (
            self.certificate_chain,
            self.private_key,
            self.roots,
            *(path for _, path in self.federated),
        )


class FileSource(Feed):
    """PEM files, read again when any of them was replaced, and only as a set that fits together."""

    def __init__(self, files: Files, *, clock: Clock, pause: float = PAUSE) -> None:
        super().__init__()
        self._files = files
        self._clock = clock
        self._pause = pause
        self._stamp: tuple[object, ...] = ()
        self._error = ""
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read them once here and now, so that what is wrong with them is known at once.

        Raises :class:`IdentityError`.
        """
        if self._thread is not None and self._thread.is_alive():
            return  # else it is the parent's, who forked
        self._over.clear()
        self._stamp = self._look()
        self.put(load(self._files, self._clock()))
        self._thread = threading.Thread(target=self._watch, name="meshlib-files", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def status(self) -> Mapping[str, object]:
        return {"kind": "files", "error": self._error, **self.shown()}

    def poll(self) -> bool:
        """Whether new ones were found. What cannot be read leaves the last good ones in force."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        try:
            found = load(self._files, self._clock())
        except IdentityError as error:
            if self._error != str(error):
                log.warning("%s; the last good certificate serves on", error)
            self._error = str(error)
            return False
        self._stamp, self._error = stamp, ""
        self.put(found)
        return True

    def _watch(self) -> None:
        while not self._over.wait(self._pause):
            self.poll()

    def _look(self) -> tuple[object, ...]:
        stamp: list[object] = []
        for path in self._files.paths:
            with suppress(OSError):
                found = path.stat()
                stamp += [path, found.st_ino, found.st_mtime_ns, found.st_size]
        return tuple(stamp)


def load(files: Files, now: float) -> Credentials:
    """Raises :class:`IdentityError` unless the certificate, its key and its roots fit together."""
    chain, roots = _read(files.certificate_chain), _read(files.roots)
    key = read_private_file(files.private_key)
    bundles = {name: _read(path) for name, path in files.federated}
    return credentials(chain, key, roots, bundles, now, str(files.certificate_chain))


def credentials(
    chain: bytes,
    key: bytes,
    roots: bytes,
    federated: Mapping[str, bytes],
    now: float,
    where: str,
) -> Credentials:
    """Of PEM. Raises :class:`IdentityError` unless all of it fits together."""
    svid = svid_of(chain, key, where)
    domain = svid.spiffe_id.removeprefix("spiffe://").partition("/")[0]
    pems = {**federated, domain: roots}
    bundles = {name: Bundle(trust_domain=name, roots=split(pem)) for name, pem in pems.items()}
    made = Credentials(svid=svid, bundles=bundles, derived_names=_is_derived(chain, svid))
    _check(made, now, where)
    return made


def svid_of(chain: bytes, key: bytes, where: str) -> Svid:
    from cryptography import x509

    from .keys import load_key

    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise IdentityError(f"{where}: not a certificate with a SPIFFE id") from error
    ids = sans.get_values_for_type(x509.UniformResourceIdentifier)
    if len(ids) != 1:
        raise IdentityError(f"{where}: a SPIFFE certificate has one URI, not {len(ids)}")
    if load_key(key, where).public_key() != leaf.public_key():
        raise IdentityError(f"{where}: the private key is not that of the certificate")
    return Svid(
        spiffe_id=ids[0],
        certificate_chain=chain,
        private_key=key,
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        serial=leaf.serial_number,
    )


def split(pem: bytes) -> tuple[bytes, ...]:
    """Each certificate of a file by itself."""
    end = b"-----END CERTIFICATE-----"
    return tuple(part.strip() + b"\n" + end + b"\n" for part in pem.split(end)[:-1])


def _is_derived(chain: bytes, svid: Svid) -> bool:
    """Whether the CA gives the DNS names that stand for SPIFFE ids."""
    from cryptography import x509

    from .names import derived_name

    leaf = x509.load_pem_x509_certificates(chain)[0]
    sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return derived_name(svid.spiffe_id) in sans.get_values_for_type(x509.DNSName)


def _check(made: Credentials, now: float, where: str) -> None:
    """What our own peers would refuse is refused here."""
    from .credentials import UntrustedError
    from .leaf import check_leaf

    assert made.svid is not None
    try:
        check_leaf(made.svid.certificate_chain, made, now)
    except UntrustedError as refused:
        raise IdentityError(f"{where}: {refused}") from refused


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from error
