import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA224, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID

from meshlib.identity.credentials import IdentityError
from meshlib.identity.csr import LARGEST, parse_csr
from meshlib.identity.spiffe import SpiffeId

REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"


def asked(*extensions, key=None, attributes=(), subject=(), digest=None):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one) for one in subject])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    for oid, value in attributes:
        builder = builder.add_attribute(oid, value)
    key = key or ec.generate_private_key(ec.SECP256R1())
    return key, builder.sign(key, digest or SHA256())


def pem(request):
    return request.public_bytes(Encoding.PEM)


def names(*of):
    return x509.SubjectAlternativeName(of)


def test_of_a_request_the_key_is_taken():
    key, request = asked()
    assert parse_csr(pem(request)).public_key == key.public_key()
    parse_csr(pem(request)).check_asks_for(SpiffeId.parse(REVIEWS))
    parse_csr(pem(asked(names(x509.UniformResourceIdentifier(REVIEWS)))[1])).check_asks_for(
        SpiffeId.parse(REVIEWS)
    )
    assert parse_csr(request.public_bytes(Encoding.DER)).public_key == key.public_key()


def test_rsa_keys_are_taken_from_2048_bits_on():
    key, request = asked(key=rsa.generate_private_key(65537, 2048))
    assert parse_csr(pem(request)).public_key == key.public_key()


def test_who_it_says_it_is_is_told_and_nothing_else_is(authority, reviews, now):
    uri = x509.UniformResourceIdentifier(REVIEWS + "-of-somebody-else")
    _, request = asked(names(uri), subject=("root",))
    parsed = parse_csr(pem(request))
    assert parsed.uri_sans == (uri.value,)
    with pytest.raises(IdentityError, match=f"it is not for {REVIEWS}"):
        parsed.check_asks_for(reviews)
    issued = authority.sign(parsed.public_key, reviews, now)
    leaf = x509.load_pem_x509_certificate(issued.certificate_chain)
    sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sans.get_values_for_type(x509.UniformResourceIdentifier) == [REVIEWS]
    assert not leaf.subject.rdns


CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
CA = x509.BasicConstraints(ca=True, path_length=None)
REFUSED = {
    "asks to become a CA": lambda: asked(CA),
    "asks for the extension 2.5.29.19": lambda: asked(
        x509.BasicConstraints(ca=False, path_length=None)
    ),
    "asks for the extension 2.5.29.37": lambda: asked(x509.ExtendedKeyUsage([CLIENT])),
    "asks for names other than URIs": lambda: asked(names(x509.DNSName("reviews"))),
    "has the attribute 1.2.840.113549.1.9.7": lambda: asked(
        attributes=[(AttributeOID.CHALLENGE_PASSWORD, b"x")]
    ),
    "curve secp224r1": lambda: asked(key=ec.generate_private_key(ec.SECP224R1())),
    "RSA key of 1024 bits": lambda: asked(key=rsa.generate_private_key(65537, 1024)),
    "weak digest": lambda: asked(digest=SHA224()),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_request_for_more_than_a_signature_is_refused(why):
    with pytest.raises(IdentityError, match=why):
        parse_csr(pem(REFUSED[why]()[1]))


def test_a_key_of_another_kind_is_refused():
    key = ed25519.Ed25519PrivateKey.generate()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, None)
    with pytest.raises(IdentityError, match="neither EC nor RSA"):
        parse_csr(pem(request))


def test_a_request_that_its_own_key_did_not_sign_is_refused():
    _, request = asked()
    _, other = asked()
    der = bytearray(request.public_bytes(Encoding.DER))
    key = other.public_key().public_numbers().x.to_bytes(32, "big")
    old = request.public_key().public_numbers().x.to_bytes(32, "big")
    at = der.index(old)
    bent = bytes(der[:at]) + key + bytes(der[at + 32 :])
    with pytest.raises(IdentityError, match="refused"):
        parse_csr(bent)
    der[-1] ^= 1
    with pytest.raises(IdentityError, match="not by its own key"):
        parse_csr(bytes(der))


def test_two_requests_in_one_are_refused():
    with pytest.raises(IdentityError, match="must be alone"):
        parse_csr(pem(asked()[1]) * 2)


@pytest.mark.parametrize("text", [b"", b"x", b"-----BEGIN CERTIFICATE REQUEST-----", b"\x30\x00"])
def test_what_is_no_request_is_refused(text):
    with pytest.raises(IdentityError, match="signing request is refused"):
        parse_csr(text)


def test_an_endless_request_is_not_even_read():
    with pytest.raises(IdentityError, match="bytes are more than"):
        parse_csr(b"\x30" * (LARGEST + 1))


def test_a_key_or_signature_that_nobody_knows_is_refused():
    der = asked()[1].public_bytes(Encoding.DER)
    ec_key, ecdsa = b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x04\x03\x02"
    assert ec_key in der
    with pytest.raises(IdentityError, match="refused"):
        parse_csr(der.replace(ec_key, ec_key[:-1] + b"\x09"))
    with pytest.raises(IdentityError, match="of a kind not known here"):
        parse_csr(der.replace(ecdsa, ecdsa[:-1] + b"\x09"))
