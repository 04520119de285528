"""Lines on their way to a file: nobody who makes a call waits for a disk."""

import atexit
import contextvars
import logging
import os
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Protocol

log = logging.getLogger("meshlib")

CAPACITY = 10_000
"""Lines that wait for the disk; the next ones are dropped, and counted."""
ROOM = 16 << 20
"""Characters of them, about: callers may send long headers while a disk hangs."""
LINGER = 1.0
"""Seconds between two writes, in which more lines may join those that wait. Who makes a call wakes
the writer's thread for the first line after as long a silence, and where much waits."""
MUCH = 256 << 10
"""Characters that are written at once, as is half of all the lines that may wait."""
FAREWELL = 2.0
"""Seconds that the end of the program waits for a disk."""
MODE = 0o640


class Sink(Protocol):
    def put(self, text: str) -> None:
        """Raises :class:`OSError`."""

    def forget(self) -> None:
        """What went before does not count: begin anew."""


class File:
    """A file, opened again whenever its name comes to stand for another (it was rotated)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._number = -1

    def put(self, text: str) -> None:
        if self._number >= 0 and self._was_rotated():
            self.forget()
        if self._number < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._number = os.open(self._path, flags, MODE)
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        while rest:
            rest = rest[os.write(self._number, rest) :]

    def _was_rotated(self) -> bool:
        try:
            there = Path(self._path).stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self._number))

    def forget(self) -> None:
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)


class Stream:
    """``stdout`` or ``stderr`` of the program, whatever stands for it at the moment."""

    def __init__(self, name: str) -> None:
        self._name = name

    def put(self, text: str) -> None:
        stream = getattr(sys, self._name)
        if stream is None or stream.closed:
            raise OSError(f"the program has no {self._name}")
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()

    def forget(self) -> None:
        pass


STREAMS = {"/dev/stdout": "stdout", "/dev/stderr": "stderr"}


class Writer:
    """One for all logs with one path. Safe from any thread; its own begins with the first line.

    ``dropped``: lines that came when too many waited, or that the disk did not take.
    """

    def __init__(self, sink: Sink, name: str, capacity: int = CAPACITY) -> None:
        self._sink = sink
        self._name = name
        self._capacity = capacity
        self._begin()

    def _begin(self) -> None:
        self._lines: deque[str] = deque()
        self._length = 0
        self._writing = threading.Lock()
        self._starting = threading.Lock()
        self._news = threading.Event()
        self._haste = threading.Event()
        self._over = threading.Event()
        self._waiting: deque[threading.Event] = deque()
        self._thread: threading.Thread | None = None
        self._fails = False
        self.dropped = 0

    def begin_anew(self) -> None:
        """In a forked child: lines that wait are the parent's to write."""
        self._begin()
        self._sink.forget()

    def write(self, line: str) -> None:
        if len(self._lines) >= self._capacity or self._length > ROOM or self._over.is_set():
            self.dropped += 1
            return
        self._lines.append(line)
        self._length += len(line)
        if not self._news.is_set():
            if self._thread is None:
                self._start()
            self._news.set()
        elif (
            self._length > MUCH or len(self._lines) > self._capacity // 2
        ) and not self._haste.is_set():
            self._haste.set()

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None or self._over.is_set():
                return
            self._thread = threading.Thread(
                target=self._run, name=f"meshlib access log {self._name}", daemon=True
            )
            # Nothing of the call at hand lives on in it.
            contextvars.Context().run(self._thread.start)

    def _run(self) -> None:
        while not self._over.is_set():
            self._news.wait()
            goes_on = True
            while goes_on and not self._over.is_set():
                self._haste.wait(LINGER)
                self._haste.clear()
                goes_on = self._has_work()
                self._work()
            self._news.clear()
            if self._has_work():  # it came just before that, and woke nobody
                self._news.set()

    def _has_work(self) -> bool:
        return bool(self._lines or self._waiting)

    def _work(self) -> None:
        waiting: list[threading.Event] = []
        with suppress(IndexError):
            while True:
                waiting.append(self._waiting.popleft())
        self._drain()
        for each in waiting:
            each.set()

    def flush(self, timeout: float | None = None) -> bool:
        """Have written what waits; ``False`` if the disk has not taken it within ``timeout``.

        Who waits is not who writes: a disk, or a pipe that nobody reads, may take for ever.
        """
        thread = self._thread
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            return self._drain(timeout)
        done = threading.Event()
        self._waiting.append(done)
        self._haste.set()
        self._news.set()
        return done.wait(timeout)

    def _drain(self, timeout: float | None = None) -> bool:
        if not self._writing.acquire(timeout=-1 if timeout is None else timeout):
            return False
        try:
            while self._lines:
                self._length = 0
                self._put([self._lines.popleft() for _ in range(len(self._lines))])
        finally:
            self._writing.release()
        return True

    def _put(self, lines: list[str]) -> None:
        try:
            self._sink.put("".join(lines))
            self._fails = False
        except (OSError, ValueError) as error:  # a stream that was closed is a ValueError
            self.dropped += len(lines)
            if not self._fails:
                log.warning("access log %s: lines are dropped: %s", self._name, error)
            self._fails = True

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._over.set()
        self._haste.set()
        self._news.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(FAREWELL)
        if (thread is None or not thread.is_alive()) and self._drain(FAREWELL):
            self._sink.forget()


class Writers:
    """By path; whoever asks for one that is known gets it."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._writers: dict[str, Writer] = {}

    def of(self, path: str) -> Writer:
        with self._lock:
            found = self._writers.get(path)
            if found is None:
                sink = Stream(STREAMS[path]) if path in STREAMS else File(path)
                found = self._writers[path] = Writer(sink, path, self._capacity)
            return found

    def dropped(self) -> dict[str, int]:
        """How many lines nobody will read, by path."""
        return {path: writer.dropped for path, writer in list(self._writers.items())}

    def flush(self, timeout: float = FAREWELL) -> None:
        for writer in list(self._writers.values()):
            writer.flush(timeout)

    def close(self) -> None:
        """Whoever asks from now on gets new ones."""
        with self._lock:
            ended, self._writers = self._writers, {}
        for writer in ended.values():
            writer.close()

    def begin_anew(self) -> None:
        self._lock = threading.Lock()
        for writer in self._writers.values():
            writer.begin_anew()


WRITERS = Writers()
"""Those of this program."""


def dropped() -> dict[str, int]:
    """How many lines of this program's logs nobody will read, by path."""
    return WRITERS.dropped()


atexit.register(WRITERS.flush)
os.register_at_fork(after_in_child=WRITERS.begin_anew)
