"""``tls`` of a trafficPolicy: how clients secure their connections."""

from collections.abc import Iterator
from typing import Literal

from .piece import Flaw, Piece
from .selection import no_empty

TlsMode = Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]


class ClientTLSSettings(Piece, frozen=True):
    """Paths are of the client's own machine; ``credential_name`` is a secret's, fetched by SDS."""

    mode: TlsMode = "DISABLE"
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: bool = False

    def rules(self) -> Iterator[Flaw]:
        yield from no_empty(self.subject_alt_names, "subjectAltNames")
        if self.insecure_skip_verify:
            said = "verification is never switched off"
            yield Flaw(("insecureSkipVerify",), said, "name the server's CA in caCertificates")
        if self.mode == "ISTIO_MUTUAL":
            yield from self._own_files("ISTIO_MUTUAL brings its own certificates")
        elif self.mode == "MUTUAL" and not self.credential_name:
            if not self.client_certificate or not self.private_key:
                yield Flaw((), "MUTUAL needs clientCertificate and privateKey, or credentialName")
        elif self.credential_name:
            yield from self._own_files("credentialName excludes files")
        if self.mode == "SIMPLE" and (self.client_certificate or self.private_key):
            yield Flaw(("clientCertificate",), "SIMPLE shows no certificate of the client")

    def _own_files(self, why: str) -> Iterator[Flaw]:
        for name, value in (
            ("clientCertificate", self.client_certificate),
            ("privateKey", self.private_key),
            ("caCertificates", self.ca_certificates),
        ):
            if value:
                yield Flaw((name,), why)
