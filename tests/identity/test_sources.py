"""Credentials from files are taken as a whole, or not at all."""

import queue

import pytest

from meshlib.identity.authority import Authority
from meshlib.identity.credentials import IdentityError
from meshlib.identity.sources import Files, FileSource, StaticSource, svid_of
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore

NOW = 1_700_000_000.0
DOMAIN = TrustDomain("cluster.local")
REVIEWS = SpiffeId(DOMAIN, "/ns/default/sa/reviews")


class Folder:
    """The files, as somebody else writes them."""

    def __init__(self, path, authority) -> None:
        self.path = path
        self.authority = authority
        self.files = Files(path / "chain.pem", path / "key.pem", path / "roots.pem")

    def write(self, spiffe_id=REVIEWS, now=NOW):
        svid = self.authority.issue(spiffe_id, now)
        self.put("roots.pem", self.authority.bundle().pem)
        self.put("key.pem", svid.private_key)
        self.put("chain.pem", svid.certificate_chain)
        return svid

    def put(self, name, content, mode=0o600):
        fresh = self.path / f".{name}"
        fresh.write_bytes(content)
        fresh.chmod(mode)
        fresh.rename(self.path / name)


@pytest.fixture
def folder(tmp_path):
    authority = Authority.create(MemoryStore(), DOMAIN, NOW)
    (tmp_path / "certs").mkdir()
    return Folder(tmp_path / "certs", authority)


@pytest.fixture
def source(folder):
    made = FileSource(folder.files, clock=lambda: NOW, pause=0.01)
    yield made
    made.close()


def test_a_certificate_with_its_key_and_roots_is_taken(folder, source):
    svid = folder.write()
    source.start()
    current = source.current()
    assert (current.svid.spiffe_id, current.svid.serial) == (str(REVIEWS), svid.serial)
    assert list(current.bundles) == ["cluster.local"]
    assert current.derived_names
    status = source.status()
    assert status["serial"] == f"{svid.serial:x}"
    assert "PRIVATE" not in repr(status)
    assert b"PRIVATE" not in repr(current).encode()


def test_new_files_are_heard_of(folder, source):
    first = folder.write()
    source.start()
    source.start()
    heard = queue.SimpleQueue()
    forget = source.watch(lambda credentials: heard.put(credentials.svid.serial))
    fresh = folder.write()
    assert heard.get(timeout=20) == first.serial
    while (serial := heard.get(timeout=20)) != fresh.serial:
        assert serial == first.serial, "the roots were news by themselves"
    forget()


def test_half_written_files_leave_the_last_good_ones_in_force(folder, source):
    svid = folder.write()
    source.start()
    source.close()
    other = folder.authority.issue(REVIEWS, NOW)
    folder.put("chain.pem", other.certificate_chain)
    assert not source.poll()
    assert "the private key is not that of the certificate" in source.status()["error"]
    assert source.current().svid.serial == svid.serial
    folder.put("key.pem", other.private_key)
    assert source.poll()
    assert source.status()["error"] == ""
    assert source.current().svid.serial == other.serial
    assert not source.poll()


def test_files_that_vanish_leave_the_last_good_ones_in_force(folder, source):
    folder.write()
    source.start()
    source.close()
    folder.files.roots.unlink()
    assert not source.poll()
    assert not source.poll()
    assert source.current() is not None


@pytest.mark.parametrize(
    ("name", "content", "mode", "what"),
    [
        ("key.pem", None, 0o644, "lets others at it"),
        ("chain.pem", b"garbage", 0o600, "not a certificate with a SPIFFE id"),
        ("roots.pem", b"", 0o600, "no root of its trust domain"),
    ],
)
def test_files_that_do_not_serve_are_refused_at_the_start(
    folder, source, name, content, mode, what
):
    folder.write()
    path = folder.path / name
    folder.put(name, path.read_bytes() if content is None else content, mode)
    with pytest.raises(IdentityError, match=what):
        source.start()


def test_a_certificate_of_two_is_refused(make_leaf):
    two = make_leaf(uris=("spiffe://cluster.local/a", "spiffe://cluster.local/b"))
    with pytest.raises(IdentityError, match="has one URI, not 2"):
        svid_of(two.pem, b"", "here")


def test_an_expired_certificate_is_refused(folder):
    folder.write()
    with pytest.raises(IdentityError, match="expired"):
        FileSource(folder.files, clock=lambda: NOW + 7200).start()


def test_what_somebody_puts_there_is_told_to_all():
    from meshlib.identity.credentials import Credentials

    source = StaticSource()
    heard = []
    source.watch(heard.append)
    source.start()
    made = Credentials()
    source.put(made)
    assert (heard, source.current()) == ([made], made)
    assert source.status() == {"kind": "static", "trust_domains": []}
    source.close()
