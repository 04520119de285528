"""Who the control plane is, and who we are to it: TLS, mTLS, tokens (gRFC A65, A97)."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshlib.xds.bootstrap import Bootstrap

DAY = dt.timedelta(days=1)


@dataclass
class Authority:
    """A certificate authority that lives in a folder."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _named(self.name)
        made = self._builder(self._subject, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.file = self._write("ca", made.sign(self._key, hashes.SHA256()))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        where = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        made = self._builder(_named(name), key).add_extension(where, critical=False)
        written = self.folder / f"{self.name}-{name}.key"
        written.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return self._write(name, made.sign(self._key, hashes.SHA256())), written

    def _builder(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
        )

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self.folder / f"{self.name}-{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@pytest.fixture
def encoding() -> str:
    return "sotw"


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def secure(control_plane, world, ours: Authority) -> Callable[..., Any]:
    """A control plane with a certificate of ours, that may ask for one."""

    def run(*, mutual: bool = False) -> Any:
        certificate, key = (path.read_bytes() for path in reversed(ours.issue("server")))
        root = ours.file.read_bytes() if mutual else None
        creds = grpc.ssl_server_credentials([(certificate, key)], root, mutual)
        return control_plane(credentials=creds, snapshot=world.chain("a", "x"))

    return run


def joining(port: int, config: dict[str, Any], **more: Any) -> Bootstrap:
    creds = [{"type": "google_default"}, {"type": "tls", "config": config}]
    server = {"server_uri": f"127.0.0.1:{port}", "channel_creds": creds, **more}
    return Bootstrap.load({"xds_servers": [server], "node": {"id": "me"}})


def test_a_control_plane_is_spoken_to_over_tls(secure, member, ours) -> None:
    server = secure()
    me = member(joining(server.port, {"ca_certificate_file": str(ours.file)}))
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    assert server.nodes == ["me"]


def test_a_control_plane_may_ask_who_we_are(secure, member, ours) -> None:
    server = secure(mutual=True)
    certificate, key = ours.issue("me")
    config = {
        "ca_certificate_file": str(ours.file),
        "certificate_file": str(certificate),
        "private_key_file": str(key),
    }
    me = member(joining(server.port, config))
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)


def test_a_control_plane_that_asks_who_we_are_gets_no_plaintext_in_place_of_a_certificate(
    secure, member, ours
) -> None:
    server = secure(mutual=True)
    me = member(joining(server.port, {"ca_certificate_file": str(ours.file)}))
    me.client.watch("a")
    me.until(lambda: me.problems)
    assert "UNAVAILABLE" in me.problems[0]
    assert server.nodes == []


def test_a_control_plane_that_somebody_else_vouches_for_is_not_believed(
    secure, member, tmp_path
) -> None:
    server = secure()
    theirs = Authority(tmp_path, "theirs")
    me = member(joining(server.port, {"ca_certificate_file": str(theirs.file)}))
    me.client.watch("a")
    me.until(lambda: me.problems)
    assert server.nodes == []
    assert not me.snapshot.listeners


def test_a_plaintext_control_plane_is_not_spoken_to_by_who_expects_tls(
    control_plane, member, world, ours
) -> None:
    server = control_plane(snapshot=world.chain("a", "x"))
    me = member(joining(server.port, {"ca_certificate_file": str(ours.file)}))
    me.client.watch("a")
    me.until(lambda: me.problems)
    assert server.nodes == []


def test_files_that_were_rotated_are_taken_up_by_the_next_stream(
    secure, member, ours, tmp_path
) -> None:
    server = secure()
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(Authority(tmp_path, "theirs").file.read_bytes())
    me = member(joining(server.port, {"ca_certificate_file": str(trusted)}))
    me.client.watch("a")
    me.until(lambda: me.problems)
    trusted.write_bytes(ours.file.read_bytes())
    me.until(lambda: me.snapshot.listeners)


def with_token(port: int, ours: Authority, file: Path) -> Bootstrap:
    token = {"type": "jwt_token_file", "config": {"jwt_token_file": str(file)}}
    return joining(port, {"ca_certificate_file": str(ours.file)}, call_creds=[token])


def test_a_token_from_a_file_goes_with_each_stream(secure, member, ours, tmp_path) -> None:
    server = secure()
    file = tmp_path / "token"
    file.write_text("first\n")
    me = member(with_token(server.port, ours, file))
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    file.write_text("second")
    server.end_streams()
    me.client.watch("nobody")
    me.until(lambda: me.absent)
    assert server.tokens == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("content", [None, " \n"])
def test_without_its_token_no_stream_is_opened(secure, member, ours, tmp_path, content) -> None:
    server = secure()
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    me = member(with_token(server.port, ours, file))
    me.client.watch("a")
    me.until(lambda: me.problems)
    assert server.nodes == []
    assert "UNAVAILABLE" in me.problems[0]
