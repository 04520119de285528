"""Contexts for ``ssl`` that look at a peer before a byte of the application's is exchanged."""

import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .credentials import IdentityError
from .leaf import pem_chain
from .material import Material

Check = Callable[["CheckedObject"], None]
"""Raises :class:`PeerRefusedError` for a peer that is not to be talked to."""
DER = 2
"""How OpenSSL writes a certificate down, without PEM's armour."""


class PeerRefusedError(ssl.SSLCertVerificationError):
    """The handshake went well, but this is not the peer that was wanted."""

    def __init__(self, why: str) -> None:
        super().__init__(1, why)
        self.verify_code = 1
        self.verify_message = why


class CheckedObject(ssl.SSLObject):
    """``shown``: the chain that the peer showed, in PEM; ``asked``: the name that it asked for.

    ``spiffe_id``: who the peer has proven to be, where who checks it notes that.
    """

    shown = b""
    asked = ""
    spiffe_id = ""

    def do_handshake(self) -> None:
        super().do_handshake()
        context = self.context
        assert isinstance(context, CheckedContext)
        self.shown = shown_chain(self)
        context.check(self)


class CheckedContext(ssl.SSLContext):
    """Not resumed and not renegotiated: who was let in once is looked at anew the next time.

    ``is_outdated``: another has taken its place.
    """

    check: Check
    is_outdated = False
    sslobject_class = CheckedObject


class SwappedContext(ssl.SSLContext):
    """Stands for another that is exchanged while it is in use: new handshakes take the new one."""

    current: Callable[[], ssl.SSLContext]

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        return self.current().wrap_bio(*arguments, **named)


def swapped(current: Callable[[], ssl.SSLContext], *, server_side: bool) -> SwappedContext:
    """``current`` is asked at each handshake."""
    made = SwappedContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    made.current = current
    return made


def client_context(material: Material, check: Check, *, by_hostname: bool) -> CheckedContext:
    """``by_hostname``: the server is known by the DNS name that is called."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, material, check)
    context.check_hostname = by_hostname
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def server_context(material: Material, check: Check, *, required: bool) -> CheckedContext:
    """``required``: who shows no certificate is turned away."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, material, check)
    context.num_tickets = 0
    context.sni_callback = _note
    believes = material.roots is None or bool(material.roots)
    if required and not believes:
        raise IdentityError("no roots to verify the certificates of clients by")
    if believes:
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def _note(connection: Any, asked: str | None, _context: ssl.SSLContext) -> None:
    connection.asked = asked or ""


def _context(protocol: int, material: Material, check: Check) -> CheckedContext:
    context = CheckedContext(protocol)
    context.check = check
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    _believe(context, material)
    if material.certificate_chain:
        _show(context, material)
    return context


def _believe(context: ssl.SSLContext, material: Material) -> None:
    try:
        if material.roots is None:
            context.load_default_certs()
        elif material.roots:
            context.load_verify_locations(cadata=material.roots.decode("ascii"))
        if material.crl:
            context.load_verify_locations(cafile=material.crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    except (OSError, ValueError) as error:
        raise IdentityError(f"the roots cannot be read: {error}") from error


def _show(context: ssl.SSLContext, material: Material) -> None:
    with as_file(material.private_key + b"\n" + material.certificate_chain) as path:
        try:
            context.load_cert_chain(path)
        except (OSError, ValueError) as error:
            raise IdentityError(f"the certificate and its key do not serve: {error}") from error


@contextmanager
def as_file(content: bytes) -> Iterator[str]:
    """``ssl`` reads keys from files only: one in memory, where there is such a thing."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("meshlib", os.MFD_CLOEXEC)
        path = f"/proc/self/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp()  # for its owner's eyes alone
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            yield path
    finally:
        if not path.startswith("/proc/"):
            with suppress(OSError):
                Path(path).unlink()


def shown_chain(connection: ssl.SSLObject) -> bytes:
    """What the peer shows of itself, in PEM, the leaf first; "" for nothing."""
    found = connection.getpeercert(binary_form=True)
    if found is None:
        return b""
    return pem_chain(_unverified(connection) or [found])


def _unverified(connection: Any) -> list[bytes]:
    """Public since Python 3.13."""
    public = getattr(connection, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    return [one.public_bytes(DER) for one in connection._sslobj.get_unverified_chain() or ()]  # noqa: SLF001
