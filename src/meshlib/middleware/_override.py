"""What a block of the application's code asks for instead of the configuration's values."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..dataplane import Override

OVERRIDE: ContextVar[Override | None] = ContextVar("meshlib_override", default=None)
"""What holds for the calls made here and now."""


@contextmanager
def override(*, timeout: float | None = None, retries: int | None = None) -> Iterator[Override]:
    """Calls made in this block have this ``timeout`` (seconds, 0: no limit) and these ``retries``.

    What is ``None`` stays as an outer block or the configuration says; the caller's own deadline
    is never lengthened. Holds for this thread or task, and for tasks begun inside.

    Raises :class:`ValueError` for what is less than 0.
    """
    for name, value in (("timeout", timeout), ("retries", retries)):
        if value is not None and not value >= 0:
            raise ValueError(f"{name} must not be less than 0, is {value!r}")
    outer = OVERRIDE.get() or Override()
    inner = Override(
        outer.timeout if timeout is None else timeout,
        outer.retries if retries is None else retries,
    )
    token = OVERRIDE.set(inner)
    try:
        yield inner
    finally:
        OVERRIDE.reset(token)
