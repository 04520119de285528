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
from ._grpc_place import Places, local_address, places_of
from ._tls_modes import MUTUAL, OPEN, Mode

log = logging.getLogger("meshlib")

PATIENCE = 10.0
"""Seconds that the first credentials may take."""


def listen(runtime: Runtime, server: Any, address: str, plaintext: str | None) -> int:
    """Raises :class:`IdentityError` where TLS is wanted and there is nothing to show."""
    runtime.start()
    places = places_of(server)
    guarded = runtime.guards or runtime.mtls == "strict"
    mode = runtime.security.inbound.modes.at(_number(address)) if guarded else OPEN
    if mode.tls is None and runtime.credentials is None:
        return _plain(server, address, places)
    if not mode.plaintext and mode.tls is not None:
        return _secure(runtime, server, address, mode, places)
    if plaintext is None:
        return _either(runtime, server, address, mode, places)
    port = _secure(runtime, server, address, mode, places)
    _plain(server, plaintext, places)
    return port


def _plain(server: Any, address: str, places: Places) -> int:
    port = places.bind(lambda: int(server.add_insecure_port(address)))
    places.add(local_address(address, port), secure=False)
    return port


def _secure(runtime: Runtime, server: Any, address: str, mode: Mode, places: Places) -> int:
    made, fetch = credentials(runtime, mode.tls or MUTUAL, _number(address))
    fetch.port = port = places.bind(lambda: int(server.add_secure_port(address, made)))
    places.add(local_address(address, port), secure=True)
    return port


def _either(runtime: Runtime, server: Any, address: str, mode: Mode, places: Places) -> int:
    front = Front(runtime.security.inbound, address)
    made, _ = credentials(runtime, mode.tls or MUTUAL, front.port)
    places.bind(lambda: int(server.add_secure_port(f"unix:{front.secure}", made)))
    places.bind(lambda: int(server.add_insecure_port(f"unix:{front.plain}")))
    places.add_front(local_address(address, front.port))
    front.start(server)
    return front.port


def _number(address: str) -> int | None:
    """``None``: it is still to be chosen."""
    port = address.rpartition(":")[2]
    return int(port) or None if port.isdecimal() else None


def credentials(
    runtime: Runtime, tls: DownstreamTls, port: int | None
) -> tuple[grpc.ServerCredentials, "Fetch"]:
    """Those that are the newest at each handshake."""
    _wait(runtime)
    fetch = Fetch(runtime, tls, port)
    told: Any = fetch  # "nothing new" is None, which the stubs do not know
    made = grpc.dynamic_ssl_server_credentials(
        fetch.initial, told, require_client_authentication=tls.require_client_certificate
    )
    return made, fetch


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

    def __init__(self, runtime: Runtime, tls: DownstreamTls, port: int | None) -> None:
        self._inbound = runtime.security.inbound
        self.port = port
        self._tls = tls
        self._material = self._inbound.material(tls)
        self.initial = self._configuration(self._material)

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            tls = self._inbound.modes.at(self.port).tls or self._tls
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
