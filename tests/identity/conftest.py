"""A CA of our own, and certificates of all kinds that no CA should make."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshlib.identity.authority import Authority
from meshlib.identity.credentials import Bundle, Credentials
from meshlib.identity.names import derived_name
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import FolderStore, MemoryStore

NOW = 1_800_000_000.0
REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@pytest.fixture(scope="session")
def now():
    return NOW


@pytest.fixture(scope="session")
def reviews():
    return SpiffeId.parse(REVIEWS)


@pytest.fixture
def authority():
    return Authority.create(MemoryStore(), TrustDomain("cluster.local"), NOW)


@pytest.fixture
def folder(tmp_path):
    store = FolderStore(tmp_path / "ca")
    store.create()
    return store


@dataclass
class Made:
    """A certificate with its key, and how to sign others with it."""

    certificate: x509.Certificate
    key: object

    @property
    def pem(self):
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self):
        return self.certificate.public_bytes(Encoding.DER)


def usage(**given):
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
        " key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: given.get(name, False) for name in names.split()})


@dataclass
class Recipe:
    """A leaf as it should be; each test spoils one thing. ``None`` leaves an extension out."""

    uris: tuple = (REVIEWS,)
    others: tuple = (x509.DNSName(derived_name(REVIEWS)),)
    subject: tuple = ()
    issuer: Made | None = None
    key: object = None
    san_critical: bool = True
    constraints: x509.BasicConstraints | None = x509.BasicConstraints(ca=False, path_length=None)
    usage: x509.KeyUsage | None = field(default_factory=lambda: usage(digital_signature=True))
    usage_critical: bool = True
    purposes: tuple | None = (SERVER, CLIENT)
    extras: tuple = ()
    start: float = NOW - 60
    end: float = NOW + 3600
    serial: int | None = None
    digest: object = field(default_factory=SHA256)

    def sans(self):
        return [*map(x509.UniformResourceIdentifier, self.uris), *self.others]

    def make(self):
        key = self.key or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, one, _validate=False) for one in self.subject]
        )
        issuer = self.issuer or Made(None, key)
        issuer_name = issuer.certificate.subject if issuer.certificate else name
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer_name)
            .public_key(key.public_key())
            .serial_number(self.serial or x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(self.start, UTC))
            .not_valid_after(datetime.fromtimestamp(self.end, UTC))
        )
        for extension, critical in self._extensions():
            builder = builder.add_extension(extension, critical)
        return Made(builder.sign(issuer.key, self.digest), key)

    def _extensions(self):
        if self.sans():
            yield x509.SubjectAlternativeName(self.sans()), self.san_critical
        if self.constraints:
            yield self.constraints, True
        if self.usage:
            yield self.usage, self.usage_critical
        if self.purposes is not None:
            yield x509.ExtendedKeyUsage(self.purposes), False
        yield from self.extras


def ca(name, issuer=None, **spoiled):
    given = {
        "uris": (),
        "others": (),
        "subject": (name,),
        "issuer": issuer,
        "constraints": x509.BasicConstraints(ca=True, path_length=None),
        "usage": usage(key_cert_sign=True, crl_sign=True),
        "purposes": None,
        "end": NOW + 864000,
        **spoiled,
    }
    return Recipe(**given).make()


@pytest.fixture(scope="session")
def make_ca():
    """``make_ca("name", issuer, **what differs)``."""
    return ca


@pytest.fixture(scope="session")
def root():
    return ca("a root")


@pytest.fixture(scope="session")
def make_leaf(root):
    """``make_leaf(**what differs)``: of a root of ``cluster.local``."""
    return lambda **spoiled: Recipe(**{"issuer": root, **spoiled}).make()


@pytest.fixture(scope="session")
def key_usage():
    return usage


@pytest.fixture(scope="session")
def believing():
    """``believing(root, …)``: credentials of a member that believes them."""

    def of(*roots, domain="cluster.local", revoked=()):
        bundle = Bundle(trust_domain=domain, roots=tuple(one.pem for one in roots))
        return Credentials(bundles={domain: bundle}, revoked=frozenset(revoked))

    return of
