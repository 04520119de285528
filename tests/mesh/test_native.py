"""A member whose CA is not ours: files with a SPIFFE id and no DNS name, and a server of gRPC."""

import datetime as dt
from concurrent import futures

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from meshlib import Mesh

REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
RATINGS = "spiffe://cluster.local/ns/default/sa/ratings"
PRODUCTPAGE = "spiffe://cluster.local/ns/default/sa/productpage"
PEM = serialization.Encoding.PEM
KEY = (PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Ca:
    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        uri = "spiffe://cluster.local"
        self.certificate = self._signed(uri, self._key.public_key(), ca=True)

    def issue(self, uri):
        """The chain and the key, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._signed(uri, key.public_key(), ca=False)
        return leaf.public_bytes(PEM), key.private_bytes(*KEY)

    @property
    def pem(self):
        return self.certificate.public_bytes(PEM)

    def _signed(self, uri, public_key, *, ca):
        now, hour = dt.datetime.now(dt.UTC), dt.timedelta(hours=1)
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "cluster.local")])
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        signs = x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage)
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        made = (
            x509.CertificateBuilder()
            .subject_name(issuer if ca else x509.Name([]))
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - hour)
            .not_valid_after(now + hour)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(signs, critical=True)
            .add_extension(names, critical=not ca)
        )
        return made.sign(self._key, SHA256())


@pytest.fixture
def ca():
    return Ca()


@pytest.fixture
def serve(ca):
    """Serves with a certificate for the id; the port."""
    closing = []

    def start(uri):
        pool = futures.ThreadPoolExecutor(2)
        server = grpc.server(pool)
        answer = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Echo", {"Say": answer}),)
        )
        chain, key = ca.issue(uri)
        credentials = grpc.ssl_server_credentials([(key, chain)], ca.pem, True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        closing.append((server, pool))
        return port

    yield start
    for server, pool in closing:
        server.stop(0).wait()
        pool.shutdown()


@pytest.fixture
def identity(ca, tmp_path, monkeypatch):
    """As the helper of SPIRE leaves it."""
    chain, key = ca.issue(PRODUCTPAGE)
    for name, content in (("svid.pem", chain), ("key.pem", key), ("bundle.pem", ca.pem)):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("MESHLIB_CERT_DIR", str(tmp_path))


def manifests(port):
    place = {"address": "127.0.0.1", "ports": {"grpc": port}, "serviceAccount": "reviews"}
    entry = {
        "hosts": ["reviews.example.com"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 9080, "name": "grpc", "protocol": "GRPC"}],
        "endpoints": [place],
    }
    rule = {
        "host": "reviews.example.com",
        "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}},
    }
    return [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": kind,
            "metadata": {"name": "reviews", "namespace": "default"},
            "spec": spec,
        }
        for kind, spec in (("ServiceEntry", entry), ("DestinationRule", rule))
    ]


@pytest.mark.usefixtures("identity")
def test_a_member_with_certificates_of_another_ca_calls_by_grpc(serve):
    with Mesh("productpage", config=manifests(serve(REVIEWS))) as mesh:
        channel = mesh.grpc.channel("reviews.example.com:9080")
        assert channel.unary_unary("/test.Echo/Say")(b"secret", timeout=20) == b"secret"


@pytest.mark.usefixtures("identity")
def test_it_does_not_call_whom_its_rules_do_not_name(serve):
    with Mesh("productpage", config=manifests(serve(RATINGS))) as mesh:
        channel = mesh.grpc.channel("reviews.example.com:9080")
        with pytest.raises(grpc.RpcError, match="SANs from certificate did not match"):
            channel.unary_unary("/test.Echo/Say")(b"secret", timeout=20)
