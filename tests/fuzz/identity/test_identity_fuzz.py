"""Whatever comes in place of an id, a certificate or a request: it is taken, or refused in words.

Bent certificates and requests are signed anew, so that each rule is reached. Each test runs
``MESHLIB_FUZZ`` rounds, or ``MESHLIB_FUZZ_SECONDS`` seconds.
"""

import re
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshlib.identity.credentials import Bundle, Credentials, IdentityError, UntrustedError
from meshlib.identity.csr import parse_csr
from meshlib.identity.leaf import LeafChecker
from meshlib.identity.names import derived_name, is_reserved
from meshlib.identity.spiffe import SpiffeId

NOW = 1_800_000_000.0
ID = re.compile(r"(?i:spiffe)://[a-z0-9._-]{1,255}((?:/[A-Za-z0-9._-]+)*)", re.ASCII)
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


pytestmark = pytest.mark.filterwarnings("ignore")  # as applications run, not as tests do


def check_words(refused):
    """A log line of one line, whatever the sender wrote."""
    assert str(refused).isprintable()
    assert len(str(refused)) < 600


def is_valid(text):
    """What SPIFFE-ID.md says, once more and shorter."""
    found = ID.fullmatch(text)
    return bool(found) and len(text) <= 2048 and not {".", ".."} & set(found[1].split("/"))


def test_an_id_is_read_exactly_where_it_is_one(corpus, bend_text, fuzz_seeds):
    lines = (corpus / "spiffe.txt").read_text(encoding="utf-8").splitlines()
    verdicts = set()
    for seed in fuzz_seeds():
        for line in lines:
            text = bend_text(line, seed)
            try:
                found = SpiffeId.parse(text)
            except IdentityError as refused:
                assert not is_valid(text), (seed, text)
                check_words(refused)
                verdicts.add(False)
                continue
            assert is_valid(text), (seed, text)
            assert SpiffeId.parse(str(found)) == found
            assert str(found)[6:] == text[6:]
            verdicts.add(True)
    assert verdicts == {True, False}


@pytest.fixture(scope="module")
def key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def credentials(key):
    """Of one who believes a root with this key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "corpus root")])
    root = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(NOW - 864000, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 864000, UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
        .public_bytes(Encoding.PEM)
    )
    bundle = Bundle(trust_domain="cluster.local", roots=(root,))
    return Credentials(bundles={"cluster.local": bundle})


def sequence(content):
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    length = bytes([len(content)]) if len(content) < 128 else bytes([0x80 | len(size)]) + size
    return b"\x30" + length + content


def signed(content, key):
    signature = b"\0" + key.sign(content, ec.ECDSA(SHA256()))
    return sequence(content + ECDSA_SHA256 + b"\x03" + bytes([len(signature)]) + signature)


def is_believed(chain, credentials):
    """And if so, then rightly: each rule once more, by the library's own reading."""
    try:
        found = LeafChecker().check(chain, credentials, NOW)
    except UntrustedError as refused:
        check_words(refused)
        return False
    leaf = x509.load_der_x509_certificate(chain)
    extensions = leaf.extensions
    sans = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert sans.value.get_values_for_type(x509.UniformResourceIdentifier) == [found.spiffe_id]
    assert is_valid(found.spiffe_id)
    assert found.spiffe_id.startswith("spiffe://cluster.local/")
    assert sans.critical or leaf.subject.rdns
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign | usage.value.crl_sign
    for one in extensions:
        assert not isinstance(one.value, x509.BasicConstraints) or not one.value.ca
        if isinstance(one.value, x509.ExtendedKeyUsage):
            assert ExtendedKeyUsageOID.CLIENT_AUTH in one.value
            assert ExtendedKeyUsageOID.SERVER_AUTH in one.value
    reserved = set(filter(is_reserved, found.dns_sans))
    assert reserved <= {derived_name(found.spiffe_id)}
    assert leaf.not_valid_before_utc.timestamp() <= NOW <= leaf.not_valid_after_utc.timestamp()
    return True


def test_a_leaf_of_the_corpus_is_believed_where_its_name_says_so(leaf_file, key, credentials):
    leaf = x509.load_pem_x509_certificate(leaf_file.read_bytes())
    good = leaf_file.stem.startswith("good")
    assert is_believed(signed(leaf.tbs_certificate_bytes, key), credentials) == good
    assert not is_believed(leaf.public_bytes(Encoding.DER), credentials)  # by another root


def test_a_bent_leaf_is_refused_or_rightly_believed(
    leaf_file, key, credentials, bend_der, fuzz_seeds
):
    tbs = x509.load_pem_x509_certificate(leaf_file.read_bytes()).tbs_certificate_bytes
    refused = 0
    for seed in fuzz_seeds():
        chain = signed(bend_der(tbs, seed), key)
        try:
            refused += not is_believed(chain, credentials)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r} of {chain.hex()}") from error
    assert refused


def test_broken_bytes_are_no_leaf(leaf_file, credentials, bend_der, fuzz_seeds):
    pem = leaf_file.read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    for seed in fuzz_seeds():
        at = seed * 7919 % len(pem)
        for chain in (bend_der(der, seed), pem[:at] + pem[at + 1 :], pem[:at], pem[at:] + pem):
            try:
                LeafChecker().check(chain, credentials, NOW)
            except UntrustedError:
                continue
            raise AssertionError(f"seed {seed}: {chain.hex()} is believed")


def with_key(request, key):
    """The signed part of a request, as if this key had made it."""
    form = (Encoding.X962, PublicFormat.UncompressedPoint)
    old = request.public_key().public_bytes(*form)
    return request.tbs_certrequest_bytes.replace(old, key.public_key().public_bytes(*form))


def is_taken(text, key):
    try:
        found = parse_csr(text)
    except IdentityError as refused:
        check_words(refused)
        return False
    assert found.public_key == key.public_key()
    extensions = x509.load_der_x509_csr(text).extensions
    assert all(isinstance(one.value, x509.SubjectAlternativeName) for one in extensions)
    return True


def test_a_request_of_the_corpus_is_taken_where_its_name_says_so(csr_file, key):
    request = x509.load_pem_x509_csr(csr_file.read_bytes())
    assert is_taken(signed(with_key(request, key), key), key) == csr_file.stem.startswith("good")


def test_a_bent_request_is_refused_or_rightly_taken(csr_file, key, bend_der, fuzz_seeds):
    content = with_key(x509.load_pem_x509_csr(csr_file.read_bytes()), key)
    refused = 0
    for seed in fuzz_seeds():
        text = signed(bend_der(content, seed), key)
        try:
            refused += not is_taken(text, key)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r} of {text.hex()}") from error
    assert refused


def test_broken_bytes_are_no_request(csr_file, key, bend_der, fuzz_seeds):
    pem = csr_file.read_bytes()
    der = x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)
    for seed in fuzz_seeds():
        at = seed * 7919 % len(pem)
        for text in (bend_der(der, seed), pem[:at] + pem[at + 1 :], pem[:at], pem[at:] + pem):
            try:
                parse_csr(text)
            except IdentityError as refused:
                check_words(refused)
