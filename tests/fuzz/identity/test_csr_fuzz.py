"""Whatever comes in place of a signing request: its key is taken, or it is refused in words."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshlib.identity.credentials import IdentityError
from meshlib.identity.csr import parse_csr

pytestmark = pytest.mark.filterwarnings("ignore")  # as applications run, not as tests do


FORM = (Encoding.X962, PublicFormat.UncompressedPoint)


@pytest.fixture
def signed_anew(key, csr_file, signed):
    """The signed part of a request, however bent, as if the key of the tests had made it."""
    old = x509.load_pem_x509_csr(csr_file.read_bytes()).public_key().public_bytes(*FORM)
    own = key.public_key().public_bytes(*FORM)
    return lambda content: signed(content.replace(old, own))


@pytest.fixture
def is_taken(key, check_words):
    def taken(text):
        try:
            found = parse_csr(text)
        except IdentityError as refused:
            check_words(refused)
            return False
        assert found.public_key == key.public_key()
        extensions = x509.load_der_x509_csr(text).extensions
        assert all(isinstance(one.value, x509.SubjectAlternativeName) for one in extensions)
        return True

    return taken


def test_a_request_of_the_corpus_is_taken_where_its_name_says_so(csr_file, signed_anew, is_taken):
    request = x509.load_pem_x509_csr(csr_file.read_bytes())
    good = csr_file.stem.startswith("good")
    assert is_taken(signed_anew(request.tbs_certrequest_bytes)) == good


def test_a_bent_request_is_refused_or_rightly_taken(
    csr_file, signed_anew, is_taken, bend_der, fuzz
):
    content = x509.load_pem_x509_csr(csr_file.read_bytes()).tbs_certrequest_bytes
    fuzz(
        lambda seed: bend_der(content, seed),
        lambda bent: is_taken(signed_anew(bent)),
        sees=frozenset({False}),
    )


def test_broken_bytes_are_no_request(csr_file, broken, check_words, fuzz):
    pem = csr_file.read_bytes()
    der = x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)

    def attempt(text):
        try:
            parse_csr(text)
        except IdentityError as refused:
            check_words(refused)

    fuzz(lambda seed: broken(pem, der, seed), attempt, rounds=200)
