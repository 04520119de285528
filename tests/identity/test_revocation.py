import subprocess
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA224, SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.identity import revocation
from meshlib.identity.credentials import Bundle, IdentityError
from meshlib.identity.keys import private_pem
from meshlib.identity.revocation import revoked_serials


def at(moment):
    return datetime.fromtimestamp(moment, UTC)


@pytest.fixture
def make_list(now):
    def of(issuer, *serials, since=-60, until=3600, digest=None, extras=()):
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(at(now + since))
            .next_update(at(now + until))
        )
        for serial in serials:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(serial)
                .revocation_date(at(now - 100))
                .build()
            )
        for extension, critical in extras:
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuer.key, digest or SHA256()).public_bytes(Encoding.PEM)

    return of


@pytest.fixture
def read(root, now):
    def of(lists, *roots, intermediates=b""):
        pems = tuple(one.pem for one in roots or (root,))
        bundles = [Bundle(trust_domain="cluster.local", roots=pems)]
        return revoked_serials(lists, bundles, now, intermediates)

    return of


@pytest.fixture
def refused(read):
    def of(why, *arguments, **more):
        with pytest.raises(IdentityError, match=why):
            read(*arguments, **more)

    return of


def test_the_serials_of_a_signed_list_are_denied(make_list, read, root):
    extras = ((x509.CRLNumber(7), False),)
    assert read(make_list(root, 1, 0xABC, extras=extras)) == {"1", "abc"}
    assert read(make_list(root)) == frozenset()
    der = x509.load_pem_x509_crl(make_list(root, 5)).public_bytes(Encoding.DER)
    assert read(der) == {"5"}


def test_all_lists_of_a_file_count(make_list, make_ca, read, root):
    other = make_ca("other")
    assert read(make_list(root, 1) + make_list(other, 2), root, other) == {"1", "2"}


def test_an_intermediate_may_sign_where_a_root_vouches_for_it(
    make_list, make_ca, read, refused, root
):
    between = make_ca("between", root)
    stranger = make_ca("stranger")
    lists = make_list(between, 9)
    assert read(lists, intermediates=between.pem) == {"9"}
    refused("not signed by a CA", lists)
    refused("not signed by a CA", make_list(stranger, 9), intermediates=stranger.pem)


def test_a_list_by_another_key_is_refused(make_list, make_ca, refused):
    refused("not signed by a CA", make_list(make_ca("a root"), 1))


def test_a_list_by_one_who_may_not_make_lists_is_refused(make_list, make_ca, refused, key_usage):
    for spoiled in ({"usage": None}, {"usage": key_usage(key_cert_sign=True)}):
        ca = make_ca("a", **spoiled)
        refused("not signed by a CA", make_list(ca, 1), ca)
    plain = make_ca("a", constraints=x509.BasicConstraints(ca=False, path_length=None))
    refused("not signed by a CA", make_list(plain, 1), plain)


def test_a_weak_signature_is_none(make_list, make_ca, refused, root):
    refused("not signed by a CA", make_list(root, 1, digest=SHA224()))
    weak = make_ca("weak", key=rsa.generate_private_key(65537, 1024))
    refused("not signed by a CA", make_list(weak, 1), weak)


def test_a_list_whose_key_is_of_another_kind_than_its_signature_is_refused(
    make_list, make_ca, refused
):
    signer = make_ca("a", key=rsa.generate_private_key(65537, 2048))
    named = make_ca("a", key=ec.generate_private_key(ec.SECP256R1()))
    refused("not signed by a CA", make_list(signer, 1), named)


def test_a_list_is_good_within_its_time_only(make_list, refused, root):
    refused("out of date", make_list(root, 1, until=-1))
    refused("of the future", make_list(root, 1, since=10))


def test_a_part_of_a_list_is_not_taken_for_the_whole(make_list, refused, root):
    delta = x509.DeltaCRLIndicator(3)
    refused("unknown critical extension 2.5.29.27", make_list(root, 1, extras=((delta, True),)))


@pytest.mark.parametrize("lists", [b"", b"x", b"-----BEGIN X509 CRL-----\nAA==\n"])
def test_what_is_no_list_is_refused(refused, lists):
    refused("not a certificate revocation list", lists)


def test_a_file_without_a_list_is_refused(refused, root):
    refused("there is no certificate revocation list", root.pem)


def test_issuers_that_cannot_be_read_are_told(make_list, refused, root):
    refused("issuers of the revocation lists", make_list(root), intermediates=b"x")


def test_a_file_without_end_is_refused(refused, monkeypatch):
    monkeypatch.setattr(revocation, "LARGEST", 10)
    refused("more than 10 bytes", b"x" * 11)


def test_openssls_own_list_is_read(make_list, read, root, tmp_path):
    (tmp_path / "root.pem").write_bytes(root.pem)
    (tmp_path / "root.key").write_bytes(private_pem(root.key))
    (tmp_path / "index").write_text("R\t291231235959Z\t260101000000Z\t0ABC\tunknown\t/CN=x\n")
    (tmp_path / "conf").write_text(
        "[ca]\ndefault_ca=a\n[a]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=9\ncrl_extensions=e\n"
        "[e]\nauthorityKeyIdentifier=issuer:always\n"
    )
    made = (
        "openssl ca -config conf -gencrl -keyfile root.key -cert root.pem -out list.pem"
        " -crl_lastupdate 270101000000Z -crl_nextupdate 300101000000Z"
    )
    subprocess.run(made.split(), cwd=tmp_path, check=True)
    assert read((tmp_path / "list.pem").read_bytes()) == {"abc"}


def test_a_signature_of_a_kind_that_nobody_knows_is_none(make_list, refused, root):
    der = x509.load_pem_x509_crl(make_list(root, 1)).public_bytes(Encoding.DER)
    ecdsa = b"\x2a\x86\x48\xce\x3d\x04\x03\x02"
    refused("not signed by a CA", der.replace(ecdsa, ecdsa[:-1] + b"\x09"))


def test_a_list_that_says_nonsense_is_refused(make_list, refused, root):
    nonsense = x509.UnrecognizedExtension(x509.CRLNumber.oid, b"\xff")
    refused("cannot be read", make_list(root, 1, extras=((nonsense, False),)))
