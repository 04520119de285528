"""What is told of certificates, and of what is none."""

import time

import pytest
from cryptography import x509

from meshlib.identity.authority import Authority
from meshlib.identity.shown import shown
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore

DOMAIN = TrustDomain("cluster.local")


@pytest.fixture
def svid():
    now = time.time()
    authority = Authority.create(MemoryStore(), DOMAIN, now)
    reviews = SpiffeId(DOMAIN, "/ns/default/sa/reviews")
    return authority.issue(reviews, now, hosts=["reviews.example.com", "10.0.0.1"])


def test_a_certificate_is_told_by_all_its_names(svid):
    leaf, *others = shown(svid.certificate_chain)
    kinds = dict(reversed(leaf.names))
    assert kinds["uri"] == svid.spiffe_id
    assert ("dns", "reviews.example.com") in leaf.names
    assert kinds["ip_address"] == "10.0.0.1"
    assert (int(leaf.serial, 16), leaf.not_after) == (svid.serial, svid.not_after)
    assert others


def test_one_without_other_names_has_its_subject(root):
    (only,) = shown(root.pem)
    assert (only.names, only.subject) == ((), "CN=a root")


def test_a_key_beside_it_is_passed_over(svid):
    both = svid.private_key + svid.certificate_chain
    assert shown(both) == shown(svid.certificate_chain)
    assert "PRIVATE" not in repr(shown(both))


def test_one_that_cannot_be_read_says_so_and_has_ended(svid):
    bad = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    first, second, *_ = shown(bad + svid.certificate_chain)
    assert first.subject.startswith("not readable: ")
    assert first.not_after == 0
    assert int(second.serial, 16) == svid.serial
    assert shown(b"") == ()


def test_the_same_is_said_as_by_others(svid):
    (leaf, *_) = shown(svid.certificate_chain)
    read = x509.load_pem_x509_certificate(svid.certificate_chain)
    assert leaf.not_before == read.not_valid_before_utc.timestamp()
    assert leaf.subject == read.subject.rfc4514_string()
