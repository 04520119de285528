"""What a connection is secured with, from wherever it is said to be."""

import pytest

from meshlib.clock import Clock
from meshlib.identity.credentials import Bundle, Credentials, IdentityError
from meshlib.identity.material import Materials
from meshlib.identity.sources import StaticSource
from meshlib.model.security import (
    CertificateFiles,
    CertificateProviderInstance,
    RootFile,
    SdsSecret,
    Secret,
    SystemRoots,
)
from meshlib.testing import FakeClock

OWN = SdsSecret("default")
ROOTS = SdsSecret("ROOTCA")


@pytest.fixture
def clock() -> Clock:
    return FakeClock()


@pytest.fixture
def svid(authority, reviews, now):
    return authority.issue(reviews, now)


@pytest.fixture
def files(tmp_path, svid, authority):
    for name, content in (
        ("svid.pem", svid.certificate_chain),
        ("key.pem", svid.private_key),
        ("roots.pem", authority.bundle().pem),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        path.chmod(0o600)
    return tmp_path


def materials(clock, source=None, secrets=()):
    held = {secret.name: secret for secret in secrets}
    return Materials(lambda: source, clock, held.get)


def test_a_member_shows_its_own_and_believes_its_own(clock, authority, svid):
    source = StaticSource(authority.credentials(svid))
    made = materials(clock, source)
    found = made.of(OWN, ROOTS)
    assert found.private_key == svid.private_key
    assert found.roots == authority.bundle().pem
    assert found.credentials is source.current()
    assert made.of(OWN, ROOTS) is found
    instance = CertificateProviderInstance("default", "default")
    assert made.of(instance, None).certificate_chain == svid.certificate_chain


def test_what_was_wanted_is_held_as_it_was_wanted_last(clock, authority, svid, reviews, now):
    source = StaticSource(authority.credentials(svid))
    made = materials(clock, source)
    assert made.held() == ()
    made.of(OWN, ROOTS)
    source.put(authority.credentials(authority.issue(reviews, now)))
    newest, roots = made.of(OWN, ROOTS), made.of(None, ROOTS)
    assert made.held() == (((OWN, ROOTS, ""), newest), ((None, ROOTS, ""), roots))


def test_new_credentials_are_another_material(clock, authority, svid, reviews, now):
    source = StaticSource(authority.credentials(svid))
    made = materials(clock, source)
    before = made.of(OWN, ROOTS)
    source.put(authority.credentials(authority.issue(reviews, now)))
    after = made.of(OWN, ROOTS)
    assert after is not before
    assert after.private_key != before.private_key


def test_what_a_member_lacks_is_told(clock, authority):
    with pytest.raises(IdentityError, match="it has no CA"):
        materials(clock).of(OWN, None)
    with pytest.raises(IdentityError, match="no credentials yet"):
        materials(clock, StaticSource()).of(OWN, None)
    with pytest.raises(IdentityError, match="no certificate of its own"):
        materials(clock, StaticSource(authority.credentials())).of(OWN, ROOTS)
    nothing = StaticSource(Credentials(bundles={"a": Bundle(trust_domain="a", roots=())}))
    with pytest.raises(IdentityError, match="nobody can be believed"):
        materials(clock, nothing).of(None, ROOTS)


def test_files_are_looked_at_again_after_a_second(clock, files):
    made = materials(clock)
    wanted = (
        CertificateFiles(str(files / "svid.pem"), str(files / "key.pem")),
        RootFile(str(files / "roots.pem")),
        str(files / "roots.pem"),
    )
    found = made.of(*wanted)
    other = files / "other.pem"
    other.write_bytes(found.certificate_chain + b"\n")
    other.replace(files / "svid.pem")
    assert made.of(*wanted) is found
    clock.jump(1.5)
    assert made.of(*wanted).certificate_chain == found.certificate_chain + b"\n"


def test_files_that_vanish_leave_in_force_what_was(clock, files):
    made = materials(clock)
    wanted = None, RootFile(str(files / "roots.pem"))
    found = made.of(*wanted)
    (files / "roots.pem").unlink()
    clock.jump(1.5)
    assert made.of(*wanted) is found


def test_files_that_were_never_there_are_told_by_their_path(clock, files):
    with pytest.raises(IdentityError, match=r"nowhere\.pem: No such file"):
        materials(clock).of(None, RootFile(str(files / "nowhere.pem")))
    folder = files / "folder"
    folder.mkdir()
    with pytest.raises(IdentityError, match="folder: Is a directory"):
        materials(clock).of(None, RootFile(str(folder)))


def test_secrets_are_found_by_name(clock, authority, svid):
    pair = Secret(
        name="pair", certificate_chain=svid.certificate_chain, private_key=svid.private_key
    )
    roots = Secret(name="roots", trusted_ca=authority.bundle().pem)
    made = materials(clock, secrets=(pair, roots))
    found = made.of(SdsSecret("pair"), SdsSecret("roots"))
    assert found.private_key == svid.private_key
    assert found.roots == authority.bundle().pem
    assert found.credentials is None
    with pytest.raises(IdentityError, match="'roots' is no certificate with its key"):
        made.of(SdsSecret("roots"), None)
    with pytest.raises(IdentityError, match="'other' is not there"):
        made.of(None, SdsSecret("other"))


def test_nothing_and_the_systems_roots_are_something_too(clock):
    made = materials(clock)
    assert made.of(None, None).roots == b""
    assert made.of(None, SystemRoots()).roots is None
    assert Materials(lambda: None, clock).of(None, None).certificate_chain == b""
    with pytest.raises(IdentityError, match="'x' is not there"):
        Materials(lambda: None, clock).of(SdsSecret("x"), None)


def test_a_key_is_not_shown(clock, authority, svid):
    found = materials(clock, StaticSource(authority.credentials(svid))).of(OWN, ROOTS)
    assert "PRIVATE" not in repr(found)
