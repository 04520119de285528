"""The xDS port over TLS, and what is said of one that is open to all."""

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshlib.controlplane import ControlPlane, server_credentials
from meshlib.errors import ConfigError
from meshlib.xds.bootstrap_servers import ChannelCreds, Server
from meshlib.xds.transport import can_connect


@pytest.fixture
def files(tmp_path):
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "plane")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, form, none))
    return tmp_path / "cert.pem", tmp_path / "key.pem"


async def reaches(plane, **config):
    creds = ChannelCreds("tls", config) if config else ChannelCreds("insecure")
    server = Server(server_uri=plane.address, channel_creds=creds)
    return await asyncio.to_thread(can_connect, server, 2.0)


async def test_a_plane_with_a_certificate_is_reached_by_those_who_trust_it(files):
    cert, key = files
    credentials = server_credentials(cert, key)
    async with ControlPlane([], listen="127.0.0.1:0", credentials=credentials) as plane:
        assert await reaches(plane, ca_certificate_file=str(cert))
        assert not await reaches(plane)


async def test_a_plane_that_asks_for_certificates_lets_nobody_in_without(files):
    cert, key = files
    credentials = server_credentials(cert, key, client_ca=cert)
    async with ControlPlane([], listen="127.0.0.1:0", credentials=credentials) as plane:
        own = {"certificate_file": str(cert), "private_key_file": str(key)}
        assert await reaches(plane, ca_certificate_file=str(cert), **own)
        pair = cert.read_bytes(), key.read_bytes()
        assert await said(plane, pair[0]) is grpc.StatusCode.UNAVAILABLE
        assert await said(plane, pair[0], pair[1], pair[0]) is grpc.StatusCode.UNIMPLEMENTED


async def said(plane, *pems):
    """What becomes of a call to a method that is not there: with TLS 1.3 a client may believe to
    be connected before the server has refused it."""
    credentials = grpc.ssl_channel_credentials(*pems)
    async with grpc.aio.secure_channel(plane.address, credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/no.Such/Method")(b"", timeout=5)
        return caught.value.code()


def test_a_certificate_that_cannot_be_read_is_told_at_once(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.pem"):
        server_credentials(tmp_path / "no.pem", tmp_path / "no.pem")


async def test_plaintext_beyond_this_machine_is_warned_of(caplog):
    async with ControlPlane([], listen="0.0.0.0:0"):
        assert caplog.text.count("plaintext") == 1
    caplog.clear()
    async with ControlPlane([], listen="127.0.0.1:0"):
        assert "plaintext" not in caplog.text
