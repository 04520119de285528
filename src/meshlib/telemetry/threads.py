"""What was received follows the application into threads, with no code of its own.

Context variables stop at threads. Only ours are carried over them, not the whole of the
context: nothing else of the application changes its meaning.
"""

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, Token
from typing import Any

from .propagation import RECEIVED

Values = tuple[tuple[ContextVar[Any], Any], ...]


class _Patch:
    """One method replaced by ours, as long as nobody replaces ours in turn."""

    def __init__(self, owner: type, name: str) -> None:
        self._owner = owner
        self._name = name
        self._in_place = False
        self.original: Callable[..., Any] = getattr(owner, name)

    def put(self, ours: Callable[..., Any]) -> None:
        if self._in_place:
            return  # buried under a patch of others since the last time
        self.original = getattr(self._owner, self._name)
        setattr(self._owner, self._name, ours)
        self._in_place = True

    def take(self, ours: Callable[..., Any]) -> None:
        if getattr(self._owner, self._name) is ours:
            setattr(self._owner, self._name, self.original)
            self._in_place = False


_lock = threading.Lock()
_installs = 0
_carried: tuple[ContextVar[Any], ...] = (RECEIVED,)
_start = _Patch(threading.Thread, "start")
_submit = _Patch(ThreadPoolExecutor, "submit")


def install(*further: ContextVar[Any]) -> None:
    """Begin to carry; each :func:`install` wants its own :func:`uninstall`.

    ``further``: variables to carry besides what was received; what is false is not carried.
    """
    global _installs, _carried  # noqa: PLW0603 - what is patched is global, too
    with _lock:
        _installs += 1
        _carried = tuple(dict.fromkeys((*_carried, *further)))
        _start.put(start)
        _submit.put(submit)


def uninstall() -> None:
    """End it after the last one; where others have patched over ours, ours stays and idles."""
    global _installs  # noqa: PLW0603
    with _lock:
        _installs = max(0, _installs - 1)
        if not _installs:
            _start.take(start)
            _submit.take(submit)


def _begin_anew() -> None:
    """In a forked child: whoever held the lock stayed behind in the parent."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_begin_anew)


@functools.wraps(_start.original)
def start(self: threading.Thread) -> None:
    received = _received()
    # The workers of a multiprocessing.pool.ThreadPool live on and serve other calls.
    if received and _installs and type(self).__module__ != "multiprocessing.dummy":
        # On the instance, so that subclasses with a run() of their own (Timer …) are reached.
        self.run = _Carried(received, self.run)  # type: ignore[method-assign]
    _start.original(self)


@functools.wraps(_submit.original)
def submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    received = _received()
    if not received or not _installs:
        return _submit.original(self, fn, *args, **kwargs)
    # Submitting may start a worker, which must not keep what only this call brought.
    nothing = _set(tuple((variable, _EMPTY.get(variable)) for variable, _ in received))
    try:
        return _submit.original(self, _Carried(received, fn), *args, **kwargs)
    finally:
        _reset(nothing)


_EMPTY: dict[ContextVar[Any], Any] = {RECEIVED: ()}
"""What stands for nothing in a variable; ``None`` in all others."""

Tokens = list[tuple[ContextVar[Any], Token[Any]]]


def _received() -> Values:
    return tuple((variable, value) for variable in _carried if (value := variable.get()))


def _set(values: Values) -> Tokens:
    return [(variable, variable.set(value)) for variable, value in values]


def _reset(tokens: Tokens) -> None:
    for variable, token in tokens:
        variable.reset(token)


class _Carried:
    """A callable that runs with what was received where it was made."""

    def __init__(self, received: Values, fn: Callable[..., Any]) -> None:
        self._received = received
        self._fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tokens = _set(self._received)
        try:
            return self._fn(*args, **kwargs)
        finally:
            _reset(tokens)
