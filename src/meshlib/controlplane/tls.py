"""What the control plane shows of itself, and whom it asks for theirs."""

from pathlib import Path
from typing import Any

import grpc

from ..errors import ConfigError, Problem


def server_credentials(
    certificate: str | Path, private_key: str | Path, client_ca: str | Path | None = None
) -> grpc.ServerCredentials:
    """TLS of these PEM files; with ``client_ca``, only for clients with a certificate of it.

    Files are read again at each handshake, so that rotated ones are taken up; ones that cannot be
    read then leave in force what was. Raises :class:`ConfigError` if they cannot be read now.
    """

    def configuration() -> grpc.ServerCertificateConfiguration:
        chain, key = Path(certificate).read_bytes(), Path(private_key).read_bytes()
        roots = Path(client_ca).read_bytes() if client_ca is not None else None
        return grpc.ssl_server_certificate_configuration([(key, chain)], roots)

    def rotated() -> Any:
        try:
            return configuration()
        except OSError:
            return None

    try:
        first = configuration()
    except OSError as error:
        raise ConfigError(Problem("ControlPlane: credentials", str(error))) from error
    made: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
        first, rotated, require_client_authentication=client_ca is not None
    )
    return made
