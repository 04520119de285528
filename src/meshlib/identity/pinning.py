"""The root of a CA of which only the hash is known: looked at before anything is said to it."""

import socket
import ssl
from hashlib import sha256

from .credentials import IdentityError

PATIENCE = 10.0


def pinned_root(target: str, wanted: str) -> bytes:
    """In PEM, the root that the server at ``host:port`` shows and whose SHA-256 is ``wanted``.

    Nothing is said over this connection, and nothing that it shows is believed but this one
    certificate: whoever makes another of that hash could forge anything. Raises
    :class:`IdentityError`.
    """
    host, _, port = target.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the hash below is what verifies
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")) as secured,
        ):
            shown = _chain(secured)
    except (OSError, ValueError) as error:
        raise IdentityError(f"the CA at {target} does not show its root: {error}") from error
    for one in shown:
        if sha256(one).hexdigest() == wanted:
            return ssl.DER_cert_to_PEM_cert(one).encode()
    raise IdentityError(f"the CA at {target} shows no root of the hash that is pinned")


def _chain(secured: ssl.SSLSocket) -> list[bytes]:
    """Public since Python 3.13."""
    public = getattr(secured, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    found = secured._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # noqa: SLF001
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in found or ()]
