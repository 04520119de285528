"""``networking.istio.io`` Gateway: what an Envoy at the edge listens on."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from .common import is_ip
from .piece import Flaw, Piece, Port, Text

HTTP = frozenset({"HTTP", "HTTP2", "GRPC"})


class GatewayPort(Piece, frozen=True):
    number: Port
    name: Text
    protocol: Literal["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS"]
    ELSEWHERE = frozenset({"targetPort"})


class ServerTLSSettings(Piece, frozen=True):
    """Read as far as to know that a server cannot be served."""

    https_redirect: bool = False
    mode: str = "PASSTHROUGH"
    credential_name: str = ""
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    subject_alt_names: tuple[str, ...] = ()
    min_protocol_version: str = ""
    max_protocol_version: str = ""
    cipher_suites: tuple[str, ...] = ()
    credential_names: tuple[str, ...] = ()
    tls_certificates: tuple[dict[str, str], ...] = ()
    ca_cert_credential_name: str = ""
    ca_crl: str = ""
    verify_certificate_spki: tuple[str, ...] = ()
    verify_certificate_hash: tuple[str, ...] = ()


class Server(Piece, frozen=True):
    port: GatewayPort
    hosts: tuple[Text, ...]
    tls: ServerTLSSettings | None = None
    bind: str = ""
    name: str = ""
    NOT_YET = frozenset({"defaultEndpoint"})

    @property
    def is_plain(self) -> bool:
        """HTTP without TLS, which is what can be served."""
        return self.port.protocol in HTTP and (self.tls is None or self.redirects)

    @property
    def redirects(self) -> bool:
        return self.tls is not None and self.tls.https_redirect

    def rules(self) -> Iterator[Flaw]:
        if not self.hosts:
            yield Flaw(("hosts",), "at least one host is needed")
        for index, host in enumerate(self.hosts):
            if "*" in host.rpartition("/")[2][1:]:
                yield Flaw(("hosts", index), f"{host!r}: a wildcard may only stand first")
        if self.bind and not is_ip(self.bind):
            yield Flaw(("bind",), f"{self.bind!r} is no IP address")


class Gateway(Piece, frozen=True):
    servers: tuple[Server, ...]
    selector: dict[str, str] = msgspec.field(default_factory=dict)
