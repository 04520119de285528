"""Whatever comes in place of a certificate: it is rightly believed, or refused in words.

Bent certificates are signed anew, so that each rule is reached.
"""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshlib.identity.credentials import Bundle, Credentials, UntrustedError
from meshlib.identity.leaf import LeafChecker
from meshlib.identity.names import derived_name, is_reserved

NOW = 1_800_000_000.0

pytestmark = pytest.mark.filterwarnings("ignore")  # as applications run, not as tests do


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


@pytest.fixture
def is_believed(credentials, fits, check_words):
    """And if so, then rightly: each rule once more, by the library's own reading."""

    def believed(chain):
        try:
            found = LeafChecker().check(chain, credentials, NOW)
        except UntrustedError as refused:
            check_words(refused)
            return False
        assert fits(found.spiffe_id)
        check_rules(x509.load_der_x509_certificate(chain), found)
        return True

    return believed


def check_rules(leaf, found):
    extensions = leaf.extensions
    sans = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert sans.value.get_values_for_type(x509.UniformResourceIdentifier) == [found.spiffe_id]
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


def test_a_leaf_of_the_corpus_is_believed_where_its_name_says_so(leaf_file, signed, is_believed):
    leaf = x509.load_pem_x509_certificate(leaf_file.read_bytes())
    good = leaf_file.stem.startswith("good")
    assert is_believed(signed(leaf.tbs_certificate_bytes)) == good
    assert not is_believed(leaf.public_bytes(Encoding.DER))  # by another root


def test_a_bent_leaf_is_refused_or_rightly_believed(leaf_file, signed, is_believed, bend_der, fuzz):
    tbs = x509.load_pem_x509_certificate(leaf_file.read_bytes()).tbs_certificate_bytes
    fuzz(
        lambda seed: bend_der(tbs, seed),
        lambda bent: is_believed(signed(bent)),
        sees=frozenset({False}),
    )


def test_broken_bytes_are_no_leaf(leaf_file, credentials, broken, check_words, fuzz):
    pem = leaf_file.read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)

    def attempt(chain):
        with pytest.raises(UntrustedError) as refused:
            LeafChecker().check(chain, credentials, NOW)
        check_words(refused.value)

    fuzz(lambda seed: broken(pem, der, seed), attempt, rounds=200)
