"""Where manifests come from: files and folders that are watched."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..clock import Clock
from ..errors import ConfigError
from .manifests import SUFFIXES, Memory, Texts, accepted, read_texts, texts_of, walk
from .world import World

log = logging.getLogger("meshlib.controlplane")

QUIET = 0.1
LONGEST = 10.0
SECOND_LOOK = 1.0

Stamp = tuple[tuple[str, int, int, int, int], ...]


class Folder:
    """Files, and folders with all below them, that may change at any time.

    A change is read once nothing has moved for ``quiet`` seconds, but no later than
    ``longest`` seconds after it began (Istio's debounce). The core is :meth:`poll`:
    no thread, no clock. :meth:`start` runs it.
    """

    def __init__(
        self,
        paths: Path | str | Sequence[Path | str],
        *,
        quiet: float = QUIET,
        longest: float = LONGEST,
    ) -> None:
        self._paths = (paths,) if isinstance(paths, Path | str) else tuple(paths)
        self._quiet = quiet
        self._longest = longest
        self._stamp: Stamp | None = None
        self._content = b""
        self._memory = Memory()
        self._began: float | None = None
        self._moved = 0.0
        self._look_again: float | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def load(self) -> World:
        """Read everything now; raises :class:`ConfigError` with every problem."""
        self._stamp = self._stat()
        texts = texts_of(self._paths)
        self._content = _digest(texts)
        self._warn_of_none(texts)
        return accepted(*read_texts(texts, self._memory))

    def poll(self, now: float) -> World | ConfigError | None:
        """What a finished change made of the files; ``None`` while there is none."""
        stamp = self._stat()
        if stamp != self._stamp:
            self._stamp = stamp
            self._moved = now
            self._began = now if self._began is None else self._began
        if not self._is_due(now):
            return None
        # A write within the same tick of the file system's clock leaves no trace in
        # the stamps, so what was read is compared once more a little later.
        self._look_again = now + SECOND_LOOK if self._began is not None else None
        self._began = None
        return self._read()

    def start(
        self,
        on_world: Callable[[World], None],
        on_error: Callable[[ConfigError], None],
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        """Watch in a thread of its own until :meth:`close`; both are called from it."""

        def watch() -> None:
            while not self._closed.wait(self._quiet / 2):
                try:
                    self._tell(self.poll(clock()), on_world, on_error)
                except Exception:
                    log.exception(
                        "watching %s failed; it goes on", ", ".join(map(str, self._paths))
                    )

        self._thread = threading.Thread(target=watch, name="meshlib-folder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _tell(
        self,
        news: World | ConfigError | None,
        on_world: Callable[[World], None],
        on_error: Callable[[ConfigError], None],
    ) -> None:
        if isinstance(news, ConfigError):
            on_error(news)
        elif news is not None:
            on_world(news)

    def _is_due(self, now: float) -> bool:
        if self._began is not None:
            return now - self._moved >= self._quiet or now - self._began >= self._longest
        return self._look_again is not None and now >= self._look_again

    def _read(self) -> World | ConfigError | None:
        texts = texts_of(self._paths)
        content = _digest(texts)
        if content == self._content:
            return None
        self._content = content
        self._warn_of_none(texts)
        try:
            return accepted(*read_texts(texts, self._memory))
        except ConfigError as refused:
            return refused

    def _warn_of_none(self, texts: Texts) -> None:
        """Nothing is a configuration too, but seldom the one that was meant."""
        if not texts:
            log.warning(
                "no manifests (%s) in %s: the mesh knows no host",
                ", ".join(f"*{suffix}" for suffix in SUFFIXES),
                ", ".join(map(str, self._paths)),
            )

    def _stat(self) -> Stamp:
        return tuple(_stamp_of(path) for path in walk(self._paths))


def _stamp_of(path: Path) -> tuple[str, int, int, int, int]:
    """Follows links: a mounted ConfigMap changes by a swap of one."""
    try:
        facts = path.stat()
    except OSError:
        return str(path), 0, 0, 0, 0
    return str(path), facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _digest(texts: Texts) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for path, text in texts:
        digest.update(repr((str(path), text)).encode())
    return digest.digest()
