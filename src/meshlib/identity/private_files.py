"""Files for their owner's eyes alone."""

import os
import stat
from pathlib import Path

from .credentials import IdentityError

LARGEST = 1024 * 1024


def read_private_file(path: Path, largest: int = LARGEST, *, follow: bool = True) -> bytes:
    """What is in a file that its owner alone may read; else :class:`IdentityError`.

    The open file is looked at, not its name, so nothing can be exchanged in between.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise IdentityError(f"{path}: not a file")
        check_private(found, path)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(largest + 1)
    finally:
        os.close(descriptor)
    if len(content) > largest:
        raise IdentityError(f"{path}: more than {largest} bytes")
    return content


def check_private(found: os.stat_result, path: Path) -> None:
    """Of us, or of root, and closed to all others; else :class:`IdentityError`."""
    if found.st_uid not in (os.geteuid(), 0):
        raise IdentityError(f"{path}: it belongs to another user (uid {found.st_uid})")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        wanted = "700" if stat.S_ISDIR(found.st_mode) else "600"
        raise IdentityError(
            f"{path}: mode {mode:04o} lets others at it\nNext: chmod {wanted} {path}"
        )


def append_private_file(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        check_private(os.fstat(descriptor), path)
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def write_private_file(path: Path, content: bytes) -> None:
    write_file(path, content, 0o600)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """All of it or nothing: a reader sees the old content or the new, never half."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
