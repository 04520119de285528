"""The file that a configuration survives in."""

import os
from pathlib import Path

import pytest

from meshlib.errors import ConfigError
from meshlib.model import Snapshot
from meshlib.xds.last_known_good import Store

DAY = 24 * 3600.0
ME = {"node": {"cluster": "ratings.default"}, "servers": ["127.0.0.1:18000"]}
NONE: frozenset[str] = frozenset()


class Wall:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def store(tmp_path, wall) -> Store:
    return Store(tmp_path / "kept", ME, wall=wall)


def test_what_was_saved_comes_back_with_its_age(store, world, wall) -> None:
    snapshot = world.chain("a", "one", "two")
    store.save(snapshot, frozenset({"example.com:80"}))
    wall.now += 60
    saved = store.load(DAY)
    assert saved is not None
    assert saved.snapshot == snapshot
    assert saved.absent == {"example.com:80"}
    assert saved.age == 60


def test_the_version_comes_back_too(store, world) -> None:
    store.save(Snapshot(listeners=world.chain("a").listeners, version="v7"), NONE)
    assert store.load(DAY).snapshot.version == "v7"


def test_where_nothing_was_saved_there_is_nothing(store) -> None:
    assert store.load(DAY) is None


def test_nobody_else_may_read_the_file_or_its_folder(store, world) -> None:
    store.save(world.chain("a"), NONE)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_saving_replaces_the_file_in_one_step_and_leaves_nothing_beside_it(store, world) -> None:
    store.save(world.chain("a", "one"), NONE)
    reader = store.path.open("rb")
    before = reader.read(10)
    store.save(world.chain("a", "one", "two"), NONE)
    reader.seek(0)
    assert reader.read(10) == before  # the old file, whole, for who has it open
    reader.close()
    assert list(store.path.parent.iterdir()) == [store.path]


def test_a_save_that_fails_leaves_the_last_one_as_it_was(store, world, monkeypatch) -> None:
    store.save(world.chain("a"), NONE)

    def no_space(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        store.save(world.chain("b"), NONE)
    assert list(store.load(DAY).snapshot.listeners) == ["a"]
    assert list(store.path.parent.iterdir()) == [store.path]


def test_a_file_that_is_too_old_is_refused(store, world, wall) -> None:
    store.save(world.chain("a"), NONE)
    wall.now += DAY + 1
    with pytest.raises(ConfigError, match="is 86401 s old, and at most 86400 s are allowed"):
        store.load(DAY)


def test_a_file_from_the_future_is_refused(store, world, wall) -> None:
    store.save(world.chain("a"), NONE)
    wall.now -= 3600
    with pytest.raises(ConfigError, match="comes from the future"):
        store.load(DAY)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_damaged_file_is_refused_wherever_it_is_damaged(store, world, place) -> None:
    store.save(world.chain("a", "one"), NONE)
    content = bytearray(store.path.read_bytes())
    content[int(len(content) * place)] ^= 1
    store.path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"is damaged|that this version of meshlib kept"):
        store.load(DAY)


@pytest.mark.parametrize("content", [b"", b"\n", b"hello", b"meshlib-last-known-good 99 ab\n{}\n"])
def test_a_file_of_another_kind_is_refused(store, world, content) -> None:
    store.save(world.chain("a"), NONE)
    store.path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a configuration that this version"):
        store.load(DAY)


def test_a_file_cut_short_is_refused(store, world) -> None:
    store.save(world.chain("a", "one"), NONE)
    content = store.path.read_bytes()
    store.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigError, match="is damaged"):
        store.load(DAY)


def test_each_member_has_a_file_of_its_own_and_takes_no_other(store, world, wall, tmp_path) -> None:
    store.save(world.chain("a"), NONE)
    other = Store(tmp_path / "kept", {**ME, "servers": ["127.0.0.1:18001"]}, wall=wall)
    assert other.load(DAY) is None
    store.path.rename(other.path)
    with pytest.raises(ConfigError, match="was kept for another member"):
        other.load(DAY)


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_a_file_that_others_may_write_to_is_refused(store, world, mode) -> None:
    store.save(world.chain("a"), NONE)
    store.path.chmod(mode)
    with pytest.raises(ConfigError, match="others may write to it"):
        store.load(DAY)


def test_a_folder_that_everybody_may_write_to_is_refused(store, world) -> None:
    store.save(world.chain("a"), NONE)
    store.path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="everybody may write to"):
        store.load(DAY)


def test_a_link_is_not_followed(store, world, tmp_path: Path) -> None:
    store.save(world.chain("a"), NONE)
    elsewhere = tmp_path / "elsewhere"
    store.path.rename(elsewhere)
    store.path.symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="last known good"):
        store.load(DAY)


def test_a_refusal_names_the_file(store, world) -> None:
    store.save(world.chain("a"), NONE)
    store.path.write_bytes(b"")
    with pytest.raises(ConfigError) as refused:
        store.load(DAY)
    assert str(store.path) in str(refused.value)
