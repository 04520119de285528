"""Members of other trust domains are believed by the roots of theirs, and of no other."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.identity.authority import Authority
from meshlib.identity.ca_messages import Trust, decode_trust, encode_trust
from meshlib.identity.credentials import IdentityError, UntrustedError
from meshlib.identity.leaf import check_leaf
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore

HERE, THERE = TrustDomain("a.example"), TrustDomain("b.example")
NOW = time.time()


@pytest.fixture
def here():
    return Authority.create(MemoryStore(), HERE, NOW)


@pytest.fixture
def there():
    return Authority.create(MemoryStore(), THERE, NOW)


def credentials(authority):
    """What a member is told."""
    from dataclasses import replace

    told = decode_trust(encode_trust(Trust(authority.bundle(), frozenset(), authority.federated())))
    bundles = {one.trust_domain: one for one in (*told.federated, told.bundle)}
    return replace(authority.credentials(), bundles=bundles)


def leaf(authority, domain):
    return authority.issue(SpiffeId(domain, "/ns/default/sa/web"), NOW).certificate_chain


def forged(name):
    """A CA of another, that says it is of this trust domain."""
    return Authority.create(MemoryStore(), name, NOW)


def test_who_is_not_federated_is_a_stranger(here, there):
    with pytest.raises(UntrustedError):
        check_leaf(leaf(there, THERE), credentials(here), NOW)


def test_who_is_federated_is_known_by_his_own_name(here, there):
    made = here.federate(THERE, there.bundle().pem)
    assert (made.sequence, len(made.roots)) == (1, 1)
    found = check_leaf(leaf(there, THERE), credentials(here), NOW)
    assert str(found.spiffe_id) == "spiffe://b.example/ns/default/sa/web"


def test_a_federated_ca_vouches_for_nobody_of_ours(here):
    """It mints what it likes; its roots are asked for its own names alone."""
    evil = forged(HERE)
    here.federate(THERE, evil.bundle().pem)
    with pytest.raises(UntrustedError):
        check_leaf(leaf(evil, HERE), credentials(here), NOW)


def test_our_ca_vouches_for_nobody_of_theirs(here, there):
    here.federate(THERE, there.bundle().pem)
    with pytest.raises(UntrustedError):
        check_leaf(leaf(forged(THERE), THERE), credentials(here), NOW)


def test_an_empty_bundle_revokes_all_of_them(here, there):
    here.federate(THERE, there.bundle().pem)
    made = here.federate(THERE, b"\n")
    assert (made.sequence, made.roots) == (2, ())
    with pytest.raises(UntrustedError):
        check_leaf(leaf(there, THERE), credentials(here), NOW)


def test_it_is_remembered_and_each_change_is_counted(here, there):
    for wanted in (1, 2, 3):
        assert here.federate(THERE, there.bundle().pem).sequence == wanted
    again = Authority(here._store)
    assert again.federated() == here.federated()
    assert again.bundle() == here.bundle(), "the own ones are the same"


def test_what_another_program_federated_is_taken_in(here, there):
    other = Authority(here._store)
    other.federate(THERE, there.bundle().pem)
    assert here.refresh()
    assert here.federated() == other.federated()


@pytest.mark.parametrize(
    ("domain", "bundle", "said"),
    [
        (HERE, "roots", "the trust domain of this CA itself"),
        (THERE, "leaf", "may not sign others"),
        (THERE, "garbage", "not a bundle of certificates"),
    ],
)
def test_what_is_no_bundle_of_another_is_refused(here, there, domain, bundle, said):
    given = {
        "roots": there.bundle().pem,
        "leaf": leaf(there, THERE),
        "garbage": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    }
    with pytest.raises(IdentityError, match=said):
        here.federate(domain, given[bundle])
    assert here.federated() == ()


def test_a_certificate_that_does_not_say_whether_it_may_sign_is_no_root(here):
    key = ec.generate_private_key(ec.SECP256R1())
    begins = datetime.fromtimestamp(NOW, UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(hours=1))
        .sign(key, SHA256())
    )
    with pytest.raises(IdentityError, match="no root: it may not sign others"):
        here.federate(THERE, made.public_bytes(Encoding.PEM))
