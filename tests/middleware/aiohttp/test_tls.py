"""https to a host of the mesh is https to the endpoint, verified by the logical name."""

import datetime as dt
import ssl

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SECURE = "reviews:443"


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate for a name, as a file."""

    def make(name: str):
        key = ec.generate_private_key(ec.SECP256R1())
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(who)
            .issuer_name(who)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        file = tmp_path / f"{name}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
        return file

    return make


@pytest.fixture
def secure(mesh, servers, certificate):
    """Serves with a certificate of that name; gives the client's side and the SNI names heard."""

    async def start(name: str):
        file = certificate(name)
        names = []
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(file)
        server.sni_callback = lambda _socket, asked, _context: names.append(asked)

        async def handler(request):
            return web.Response(text=f"{request.scheme} {request.host}")

        app = web.Application()
        app.router.add_get("/", handler)
        mesh.apply(await servers.run(app, ssl_context=server), listener=SECURE)
        return ssl.create_default_context(cafile=file), names

    return start


async def test_the_logical_name_is_asked_for_and_verified(secure, session):
    trust, names = await secure("reviews")
    async with session.get("https://reviews/", ssl=trust) as answer:
        assert await answer.text() == "https reviews"
        assert str(answer.url) == "https://reviews/"
    assert names == ["reviews"]


async def test_a_certificate_for_another_name_is_not_connected_to(mesh, secure, session):
    trust, _ = await secure("ratings")
    with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
        await session.get("https://reviews/", ssl=trust)
    assert caught.value.mesh.flags == ("UF",)
    assert mesh.active == 0


async def test_a_name_that_the_caller_wants_verified_instead_is(secure, session):
    trust, names = await secure("ratings")
    async with session.get("https://reviews/", ssl=trust, server_hostname="ratings") as answer:
        assert answer.status == 200
    assert names == ["ratings"]
