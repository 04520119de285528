"""Contexts of TLS: who is believed, what is shown, and what is refused before anybody connects."""

import os
import ssl
from pathlib import Path

import pytest

from meshlib.identity.credentials import IdentityError
from meshlib.identity.material import Material
from meshlib.identity.tls import as_file, client_context, server_context, shown_chain


@pytest.fixture
def material(authority, reviews, now):
    svid = authority.issue(reviews, now)
    return Material(
        certificate_chain=svid.certificate_chain,
        private_key=svid.private_key,
        roots=authority.bundle().pem,
    )


def check(_connection):
    """Everybody will do."""


def test_nothing_older_than_tls_1_2_and_nothing_resumed(material):
    for context in (
        client_context(material, check, by_hostname=False),
        server_context(material, check, required=True),
    ):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.options & ssl.OP_NO_TICKET
    assert server_context(material, check, required=True).num_tickets == 0


def test_a_server_may_let_in_who_shows_nothing(material):
    assert server_context(material, check, required=False).verify_mode == ssl.CERT_OPTIONAL


def test_a_server_that_asks_for_certificates_needs_roots(material):
    bare = Material(certificate_chain=material.certificate_chain, private_key=material.private_key)
    with pytest.raises(IdentityError, match="no roots"):
        server_context(Material(roots=b""), check, required=True)
    believing_the_system = server_context(bare, check, required=True)
    assert believing_the_system.verify_mode == ssl.CERT_REQUIRED
    nobody = Material(
        certificate_chain=material.certificate_chain, private_key=material.private_key, roots=b""
    )
    assert server_context(nobody, check, required=False).verify_mode == ssl.CERT_NONE


def test_who_believes_the_system_knows_servers_by_name():
    context = client_context(Material(), check, by_hostname=True)
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_roots_and_certificates_that_do_not_serve_are_told(material, tmp_path):
    with pytest.raises(IdentityError, match="the roots cannot be read"):
        client_context(Material(roots=b"no roots"), check, by_hostname=False)
    lost = Material(roots=material.roots, crl=str(tmp_path / "nowhere"))
    with pytest.raises(IdentityError, match="the roots cannot be read"):
        client_context(lost, check, by_hostname=False)
    pair = Material(certificate_chain=material.certificate_chain, private_key=b"x", roots=b"")
    with pytest.raises(IdentityError, match="the certificate and its key do not serve"):
        server_context(pair, check, required=False)


def test_a_list_of_the_revoked_is_asked_about_the_whole_chain(material, tmp_path):
    path = tmp_path / "crl.pem"
    path.write_bytes(material.roots)  # what it holds is looked at in the handshake
    context = client_context(
        Material(roots=material.roots, crl=str(path)), check, by_hostname=False
    )
    assert context.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN == ssl.VERIFY_CRL_CHECK_CHAIN


def test_a_key_lies_in_memory_alone_or_in_a_file_that_goes(monkeypatch):
    with as_file(b"secret") as path:
        assert Path(path).read_bytes() == b"secret"
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with as_file(b"secret") as path:
        assert Path(path).stat().st_mode & 0o777 == 0o600
    assert not Path(path).exists()


class Connection:
    """As much of one as is asked."""

    def __init__(self, *ders):
        self._ders = ders

    def getpeercert(self, *, binary_form):
        assert binary_form
        return self._ders[0] if self._ders else None

    def get_unverified_chain(self):
        return self._ders


def test_what_a_peer_shows_is_told_with_the_leaf_first():
    assert shown_chain(Connection()) == b""
    assert shown_chain(Connection(b"a", b"b")).count(b"BEGIN CERTIFICATE") == 2
