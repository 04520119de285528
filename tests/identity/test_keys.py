import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from meshlib.identity import private_files
from meshlib.identity.credentials import IdentityError
from meshlib.identity.keys import load_key, load_key_file, new_key, private_pem, weak
from meshlib.identity.private_files import (
    LARGEST,
    check_private,
    read_private_file,
    write_file,
    write_private_file,
)


def as_pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def test_a_new_key_is_of_p256_and_comes_back_from_pem():
    key = new_key()
    assert key.curve.name == "secp256r1"
    assert load_key(private_pem(key)).public_key() == key.public_key()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: ec.generate_private_key(ec.SECP224R1()), "secp224r1"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        (lambda: rsa.generate_private_key(65537, 1024), "RSA key of 1024 bits"),
        (ed25519.Ed25519PrivateKey.generate, "neither EC nor RSA"),
        (lambda: dsa.generate_private_key(2048), "neither EC nor RSA"),
    ],
)
def test_a_weak_key_is_refused_with_its_reason(make, why):
    with pytest.raises(IdentityError, match=why):
        load_key(as_pem(make()))


def test_strong_keys_of_others_are_taken():
    assert load_key(as_pem(rsa.generate_private_key(65537, 2048)))
    assert not weak(ec.generate_private_key(ec.SECP384R1()).public_key())


def test_a_key_is_never_quoted_when_it_is_refused():
    secret = as_pem(new_key(), BestAvailableEncryption(b"hush"))
    for text in (secret, b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(IdentityError) as refused:
            load_key(text, "key.pem")
        assert str(refused.value) == "key.pem: not an unencrypted private key in PEM"
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__


def test_a_key_file_is_written_for_its_owner_alone(tmp_path):
    path = tmp_path / "key.pem"
    path.write_text("old")
    path.chmod(0o644)
    key = new_key()
    write_private_file(path, private_pem(key))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key_file(path).public_key() == key.public_key()
    assert [one.name for one in tmp_path.iterdir()] == ["key.pem"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601])
def test_a_key_that_others_may_touch_is_refused(tmp_path, mode):
    path = tmp_path / "key.pem"
    write_private_file(path, private_pem(new_key()))
    path.chmod(mode)
    with pytest.raises(IdentityError, match=f"mode 0{mode:o} lets others at it\nNext: chmod 600"):
        load_key_file(path)


def test_a_file_of_another_user_is_refused(tmp_path):
    path = tmp_path / "key.pem"
    path.touch(0o600)
    found = list(path.stat())
    found[4] = os.geteuid() + 1
    with pytest.raises(IdentityError, match="belongs to another user"):
        check_private(os.stat_result(found), path)


def test_a_missing_file_is_told_by_its_path(tmp_path):
    with pytest.raises(IdentityError, match=r"key\.pem: No such file"):
        read_private_file(tmp_path / "key.pem")


def test_a_link_is_followed_only_where_it_may_be(tmp_path):
    path, link = tmp_path / "real", tmp_path / "link"
    write_private_file(path, b"x")
    link.symlink_to(path)
    assert read_private_file(link) == b"x"
    with pytest.raises(IdentityError, match="link"):
        read_private_file(link, follow=False)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(IdentityError, match="not a file"):
        read_private_file(tmp_path / "pipe")
    with pytest.raises(IdentityError, match="not a file"):
        read_private_file(tmp_path)


def test_a_file_too_large_for_a_key_is_refused(tmp_path):
    write_private_file(tmp_path / "key", b"x" * LARGEST)
    assert len(read_private_file(tmp_path / "key")) == LARGEST
    write_private_file(tmp_path / "key", b"x" * (LARGEST + 1))
    with pytest.raises(IdentityError, match="more than"):
        read_private_file(tmp_path / "key")


def test_a_write_that_fails_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "key"
    write_private_file(path, b"old")

    def full(descriptor):
        raise OSError(28, "no space left")

    monkeypatch.setattr(private_files.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_private_file(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def test_a_public_file_may_be_read_by_all_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        write_file(tmp_path / "bundle.pem", b"x", 0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "bundle.pem").stat().st_mode) == 0o644
