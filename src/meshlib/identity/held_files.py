"""Files for a library that takes keys from nowhere else, and opens them when it likes."""

import os
import shutil
import tempfile
import weakref
from pathlib import Path

MEMORY = "/proc/self/fd"


class HeldFile:
    """In memory, where there is such a thing: it is gone with the process, however that ends.

    Else in a folder that its owner alone can enter. ``path`` is good as long as this is held.
    """

    __slots__ = ("__weakref__", "path")

    def __init__(self, content: bytes) -> None:
        if hasattr(os, "memfd_create") and Path(MEMORY).is_dir():
            descriptor = os.memfd_create("meshlib", os.MFD_CLOEXEC)
            weakref.finalize(self, os.close, descriptor)
            self.path = f"{MEMORY}/{descriptor}"
        else:
            folder = private_folder(self)
            self.path = str(folder / "held")
        Path(self.path).write_bytes(content)


def private_folder(owner: object) -> Path:
    """Closed to all others; gone with ``owner``, but for one that a forked child has a copy of."""
    folder = Path(tempfile.mkdtemp(prefix="meshlib-"))
    weakref.finalize(owner, _remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
