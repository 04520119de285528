import threading

import pytest

from meshlib.identity.credentials import IdentityError
from meshlib.identity.store import FolderStore, MemoryStore


@pytest.fixture(params=["folder", "memory"])
def store(request, folder):
    return folder if request.param == "folder" else MemoryStore()


def test_what_was_written_is_read_until_it_is_removed(store):
    assert store.read("a") is None
    store.write("a", b"1")
    store.write("a", b"2")
    assert store.read("a") == b"2"
    store.remove("a")
    store.remove("a")
    assert store.read("a") is None


def test_each_write_makes_another_version(store):
    versions = [store.version("a")]
    for _ in range(5):
        store.write("a", b"same")
        versions.append(store.version("a"))
    assert len(set(versions)) == 6
    assert versions[0] is None
    assert store.version("a") == versions[-1]


def test_nobody_writes_between_reading_and_writing(store):
    def count():
        for _ in range(25):
            with store.locked():
                found = int(store.read("n") or 0)
                with store.locked():
                    store.write("n", b"%d" % (found + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert store.read("n") == b"100"


def test_two_programs_take_turns(folder):
    other = FolderStore(folder.folder)
    order = []

    def second():
        with other.locked():
            order.append("second")

    with folder.locked():
        thread = threading.Thread(target=second)
        thread.start()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_the_folder_is_closed_to_others(folder):
    assert folder.folder.stat().st_mode & 0o777 == 0o700
    folder.write("key", b"x")
    assert (folder.folder / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_folder_that_others_may_enter_is_refused(folder, mode):
    folder.write("a", b"1")
    folder.folder.chmod(mode)
    for act in (lambda: folder.read("a"), lambda: folder.write("a", b""), folder.create):
        with pytest.raises(IdentityError, match="chmod 700"):
            act()
    with pytest.raises(IdentityError, match="chmod 700"), folder.locked():
        pass


def test_a_file_that_others_may_read_is_refused(folder):
    folder.write("a", b"1")
    (folder.folder / "a").chmod(0o644)
    with pytest.raises(IdentityError, match="chmod 600"):
        folder.read("a")


def test_a_link_in_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").touch(0o600)
    (folder.folder / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IdentityError):
        folder.read("a")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(IdentityError, match="there is no such folder"):
        FolderStore(tmp_path / "none").read("a")
