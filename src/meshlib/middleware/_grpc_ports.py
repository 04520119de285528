"""Ports of gRPC servers: encrypted, in plain text, or either, as the configuration has it."""

import logging
import threading
from typing import Any

import grpc

from ..identity.credentials import IdentityError
from ..identity.material import Material
from ..model.security import DownstreamTls
from ._drive import Runtime
from ._grpc_front import Front
from ._tls_inbound import MUTUAL, OPEN, Mode

log = logging.getLogger("meshlib")

PATIENCE = 10.0
"""Seconds that the first credentials may take."""


def listen(runtime: Runtime, server: Any, address: str, plaintext: str | None) -> int:
    """Raises :class:`IdentityError` where TLS is wanted and there is nothing to show."""
    runtime.start()
    guarded = runtime.guards or runtime.mtls == "strict"
    mode = runtime.security.inbound.mode if guarded else OPEN
    if mode.tls is None and runtime.credentials is None:
        return int(server.add_insecure_port(address))
    if not mode.plaintext and mode.tls is not None:
        return int(server.add_secure_port(address, credentials(runtime, mode.tls)))
    if plaintext is None:
        return _either(runtime, server, address, mode)
    port = int(server.add_secure_port(address, credentials(runtime, mode.tls or MUTUAL)))
    server.add_insecure_port(plaintext)
    return port


def _either(runtime: Runtime, server: Any, address: str, mode: Mode) -> int:
    front = Front(runtime.security.inbound, address)
    secure = credentials(runtime, mode.tls or MUTUAL)
    server.add_secure_port(f"unix:{front.secure}", secure)
    server.add_insecure_port(f"unix:{front.plain}")
    return front.start(server)


def credentials(runtime: Runtime, tls: DownstreamTls) -> grpc.ServerCredentials:
    """Those that are the newest at each handshake."""
    _wait(runtime)
    fetch: Any = Fetch(runtime, tls)  # "nothing new" is None, which the stubs do not know
    return grpc.dynamic_ssl_server_credentials(
        fetch.initial, fetch, require_client_authentication=tls.require_client_certificate
    )


def _wait(runtime: Runtime) -> None:
    source = runtime.credentials
    if source is None or source.current() is not None:
        return
    there = threading.Event()
    forget = source.watch(lambda _credentials: there.set())
    there.wait(PATIENCE)
    forget()


class Fetch:
    """Called by gRPC core, on threads of its own, before each handshake."""

    def __init__(self, runtime: Runtime, tls: DownstreamTls) -> None:
        self._inbound = runtime.security.inbound
        self._tls = tls
        self._material = self._inbound.material(tls)
        self.initial = self._configuration(self._material)

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            tls = self._inbound.mode.tls or self._tls
            material = self._inbound.material(tls)
            if material is self._material:
                return None
            made = self._configuration(material)
        except Exception:  # the last good ones serve on
            log.exception("the server's certificate could not be renewed")
            return None
        self._material = material
        return made

    def _configuration(self, material: Material) -> grpc.ServerCertificateConfiguration:
        if material.crl:
            raise IdentityError("gRPC cannot go by a certificate revocation list")
        pair = (material.private_key, material.certificate_chain)
        return grpc.ssl_server_certificate_configuration([pair], material.roots or None)
