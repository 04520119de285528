"""Where the CA keeps what it must not lose or show: a folder of its own, or memory alone."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import RLock
from typing import Protocol

from .credentials import IdentityError
from .private_files import (
    append_private_file,
    check_private,
    read_private_file,
    write_private_file,
)

LOCK = ".lock"
LARGEST = 64 * 1024 * 1024


class Store(Protocol):
    """Small named files. Who reads, decides and writes does so within :meth:`locked`."""

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, content: bytes) -> None: ...

    def append(self, name: str, content: bytes) -> None:
        """At the end of the file; a program that ends may leave a part of it."""

    def remove(self, name: str) -> None: ...

    def version(self, name: str) -> object:
        """Differs from before when the file was written since, by anybody."""

    def locked(self) -> AbstractContextManager[None]:
        """One at a time, among threads and programs."""


class FolderStore:
    """Mode 0700 with files of mode 0600; refused where others may look, or where others own it."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._thread = RLock()
        self._depth = 0

    def create(self) -> None:
        """Make the folder if it is not there yet."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check()

    def read(self, name: str) -> bytes | None:
        self._check()
        path = self.folder / name
        return read_private_file(path, LARGEST, follow=False) if os.path.lexists(path) else None

    def write(self, name: str, content: bytes) -> None:
        self._check()
        write_private_file(self.folder / name, content)

    def append(self, name: str, content: bytes) -> None:
        self._check()
        append_private_file(self.folder / name, content)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def version(self, name: str) -> object:
        try:
            found = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    @contextmanager
    def locked(self) -> Iterator[None]:
        import fcntl

        with self._thread:
            if self._depth:  # this thread holds the file already
                yield
                return
            self._check()
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.folder / LOCK, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._depth = 1
                yield
            finally:
                self._depth = 0
                os.close(descriptor)

    def _check(self) -> None:
        try:
            found = self.folder.stat()
        except FileNotFoundError:
            raise IdentityError(f"{self.folder}: there is no such folder") from None
        check_private(found, self.folder)


class MemoryStore:
    """For a CA that lives as long as its program."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, int]] = {}
        self._writes = 0
        self._lock = RLock()

    def read(self, name: str) -> bytes | None:
        found = self._files.get(name)
        return None if found is None else found[0]

    def write(self, name: str, content: bytes) -> None:
        self._writes += 1
        self._files[name] = (content, self._writes)

    def append(self, name: str, content: bytes) -> None:
        self.write(name, (self.read(name) or b"") + content)

    def remove(self, name: str) -> None:
        self._files.pop(name, None)

    def version(self, name: str) -> object:
        found = self._files.get(name)
        return None if found is None else found[1]

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._lock:
            yield
