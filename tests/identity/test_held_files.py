"""Keys that a library reads from files are in memory, or in a folder closed to all others."""

import os
import stat
from pathlib import Path

import pytest

from meshlib.identity.held_files import HeldFile, private_folder


class Owner:
    pass


def test_a_held_file_is_in_memory_and_gone_when_it_is_let_go():
    held = HeldFile(b"key")
    path = Path(held.path)
    assert path.read_bytes() == b"key"
    assert path.is_relative_to("/proc/self/fd")
    before = path.readlink()
    del held
    assert not path.is_symlink() or path.readlink() != before


@pytest.fixture
def without_memory(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")


@pytest.mark.usefixtures("without_memory")
def test_without_such_memory_nobody_else_can_enter_its_folder():
    held = HeldFile(b"key")
    path = Path(held.path)
    assert path.read_bytes() == b"key"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    del held
    assert not path.parent.exists()


def test_a_forked_child_leaves_the_folder_to_its_parent(monkeypatch):
    owner = Owner()
    folder = private_folder(owner)
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        del owner
    assert folder.is_dir()
    folder.rmdir()
