"""What was received follows the application into threads, with no code of its own.

Context variables stop at threads. Only ours is carried over them, not the whole of the
context: nothing else of the application changes its meaning.
"""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ..dataplane import Headers
from .propagation import RECEIVED

T = TypeVar("T")

_lock = threading.Lock()
_installs = 0
_start = threading.Thread.start
_submit = ThreadPoolExecutor.submit


def install() -> None:
    """Begin to carry; each :func:`install` wants its own :func:`uninstall`."""
    global _installs, _start, _submit  # noqa: PLW0603 - what is patched is global, too
    with _lock:
        _installs += 1
        if _installs > 1:
            return
        if threading.Thread.start is not start:
            _start, threading.Thread.start = threading.Thread.start, start  # type: ignore[method-assign]
        if ThreadPoolExecutor.submit is not submit:
            _submit, ThreadPoolExecutor.submit = ThreadPoolExecutor.submit, submit  # type: ignore[method-assign]


def uninstall() -> None:
    """End it after the last one; what others have patched over ours stays, and ours is idle."""
    global _installs  # noqa: PLW0603
    with _lock:
        if not _installs:
            return
        _installs -= 1
        if _installs:
            return
        if threading.Thread.start is start:
            threading.Thread.start = _start  # type: ignore[method-assign]
        if ThreadPoolExecutor.submit is submit:
            ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign]


@functools.wraps(_start)
def start(self: threading.Thread) -> None:
    received = RECEIVED.get()
    # The workers of a multiprocessing.pool.ThreadPool live on and serve other calls.
    if not received or not _installs or type(self).__module__ == "multiprocessing.dummy":
        _start(self)
        return
    # On the instance, so that subclasses with a run() of their own (Timer …) are reached.
    self.run = _Carried(received, self.run)  # type: ignore[method-assign]
    _start(self)


@functools.wraps(_submit)
def submit(
    self: ThreadPoolExecutor, fn: Callable[..., T], /, *args: Any, **kwargs: Any
) -> Future[T]:
    received = RECEIVED.get()
    if not received or not _installs:
        return _submit(self, fn, *args, **kwargs)
    # Submitting may start a worker, which must not keep what only this call brought.
    token = RECEIVED.set(())
    try:
        return _submit(self, _Carried(received, fn), *args, **kwargs)
    finally:
        RECEIVED.reset(token)


class _Carried:
    """A callable that runs with what was received where it was made."""

    def __init__(self, received: Headers, fn: Callable[..., Any]) -> None:
        self._received = received
        self._fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token = RECEIVED.set(self._received)
        try:
            return self._fn(*args, **kwargs)
        finally:
            RECEIVED.reset(token)
