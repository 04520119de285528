"""Roots as gRPC core reads them: by trust domain, and nothing that it could not read."""

import json
from base64 import b64decode
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.identity.bundle_map import bundle_map
from meshlib.identity.credentials import IdentityError

HASHES = {"EC": SHA256(), "RSA": SHA256(), "Ed25519": None}


def a_root(kind):
    key = {
        "EC": lambda: ec.generate_private_key(ec.SECP256R1()),
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, kind)])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    made = made.public_key(key.public_key()).serial_number(1)
    begins, ends = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
    return made.not_valid_before(begins).not_valid_after(ends).sign(key, HASHES[kind])


def test_each_trust_domain_has_its_own_roots_and_each_root_is_whole():
    roots = {kind: a_root(kind) for kind in ("EC", "RSA")}
    pems = {kind: root.public_bytes(Encoding.PEM) for kind, root in roots.items()}
    said = json.loads(bundle_map({"here": pems["EC"] + pems["RSA"], "there": pems["RSA"]}))
    kinds = {
        name: [key["kty"] for key in domain["keys"]]
        for name, domain in said["trust_domains"].items()
    }
    assert kinds == {"here": ["EC", "RSA"], "there": ["RSA"]}
    [key] = said["trust_domains"]["there"]["keys"]
    assert key["use"] == "x509-svid"
    [certificate] = key["x5c"]
    assert b64decode(certificate) == roots["RSA"].public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        (b"no certificate", "the roots of here cannot be read"),
        (a_root("Ed25519").public_bytes(Encoding.PEM), "a key of kind Ed25519"),
    ],
)
def test_what_nobody_could_be_verified_by_is_refused(pem, words):
    with pytest.raises(IdentityError, match=words):
        bundle_map({"here": pem})
