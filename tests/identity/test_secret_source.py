"""Certificates and roots that are discovered count when they fit each other."""

import pytest

from meshlib.identity.authority import Authority
from meshlib.identity.credentials import IdentityError
from meshlib.identity.secret_source import SecretSource
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore
from meshlib.model.security import Secret

NOW = 1_700_000_000.0
DOMAIN = TrustDomain("cluster.local")
REVIEWS = SpiffeId(DOMAIN, "/ns/default/sa/reviews")


@pytest.fixture
def authority():
    return Authority.create(MemoryStore(), DOMAIN, NOW)


@pytest.fixture
def source():
    return SecretSource(DOMAIN, clock=lambda: NOW)


def own(authority):
    svid = authority.issue(REVIEWS, NOW)
    return Secret(
        name="default", certificate_chain=svid.certificate_chain, private_key=svid.private_key
    )


def roots(authority, name="ROOTCA"):
    return Secret(name=name, trusted_ca=authority.bundle().pem)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_certificate_and_roots_may_come_in_any_order(source, authority, order):
    heard = []
    source.watch(heard.append)
    pair = own(authority), roots(authority)
    for index in order:
        source.hear(pair[index])
    assert heard[-1].svid.spiffe_id == str(REVIEWS)
    assert heard[-1].derived_names
    assert source.status()["error"] == ""


def test_roots_alone_are_enough_to_verify_others(source, authority):
    source.hear(roots(authority))
    assert source.current().svid is None
    assert list(source.current().bundles) == ["cluster.local"]


def test_a_certificate_of_other_roots_waits_for_them(source, authority):
    source.hear(own(authority))
    assert source.current() is None
    source.hear(roots(authority))
    before = source.current()
    other = Authority.create(MemoryStore(), DOMAIN, NOW)
    source.hear(own(other))
    assert source.current() is before
    assert "no root of its trust domain" in source.status()["error"]
    source.hear(roots(other))
    assert source.current().svid.serial != before.svid.serial


def test_roots_of_federated_domains_have_their_names(source, authority):
    other = Authority.create(MemoryStore(), TrustDomain("other.example"), NOW)
    source.hear(roots(authority))
    source.hear(roots(other, "spiffe://other.example"))
    assert set(source.current().bundles) == {"cluster.local", "other.example"}
    source.hear(own(authority))
    assert set(source.current().bundles) == {"cluster.local", "other.example"}


def test_who_is_revoked_is_told_with_them(source, authority):
    source.revoke(frozenset(["ff"]))
    assert source.current() is None
    source.hear(roots(authority))
    assert source.current().revoked == {"ff"}
    source.hear(own(authority))
    source.revoke(frozenset(["fe"]))
    assert source.current().revoked == {"fe"}


def test_other_secrets_are_found_by_name(source):
    secret = Secret(name="kubernetes://api", trusted_ca=b"x")
    source.hear(secret)
    assert source.named("kubernetes://api") is secret
    source.lose("kubernetes://api")
    assert source.named("kubernetes://api") is None


def test_what_is_lost_was_good_until_now(source, authority):
    source.hear(own(authority))
    source.hear(roots(authority))
    source.lose("ROOTCA")
    assert source.current().svid is not None
    source.start()
    source.close()


@pytest.mark.parametrize(
    ("secret", "what"),
    [
        (Secret(name="ROOTCA", trusted_ca=b"x"), "has no roots in PEM"),
        (Secret(name="default", trusted_ca=b"x"), "no certificate with its key"),
    ],
)
def test_a_secret_that_is_something_else_is_refused(source, secret, what):
    with pytest.raises(IdentityError, match=what):
        source.hear(secret)


def test_a_trust_domain_that_is_none_is_refused(source, authority):
    with pytest.raises(IdentityError, match="is no SPIFFE id"):
        source.hear(roots(authority, "spiffe://UPPER"))
