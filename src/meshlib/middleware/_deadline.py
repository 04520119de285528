"""A call made while serving a call must end before that one has to."""

from contextvars import ContextVar, Token

from ._drive import Runtime

MARGIN = 0.005
"""Seconds kept for the way back."""


class Incoming:
    """The time that the call being served has, as a moment on the mesh's clock.

    What it began in the background may go on after its end, and then has no deadline any more.
    """

    __slots__ = ("deadline",)

    def __init__(self, deadline: float) -> None:
        self.deadline: float | None = deadline

    def bounded(self, own: float | None) -> float | None:
        """The deadline of a call made here and now, by its own and by ours."""
        if self.deadline is None:
            return own
        ours = self.deadline - MARGIN
        return ours if own is None or ours < own else own


INCOMING: ContextVar[Incoming | None] = ContextVar("meshlib_deadline", default=None)
"""What bounds the calls made here and now."""

Receipt = tuple[Incoming, Token[Incoming | None]]


def receive(runtime: Runtime, deadline: float | None) -> Receipt | None:
    """From here on serve a call with this deadline; give the result to :func:`release`."""
    if deadline is None or not runtime.propagate_deadlines:
        return None
    incoming = Incoming(deadline)
    return incoming, INCOMING.set(incoming)


def release(receipt: Receipt | None) -> None:
    if receipt is None:
        return
    incoming, token = receipt
    incoming.deadline = None
    try:
        INCOMING.reset(token)
    except ValueError:
        INCOMING.set(None)  # the handler ended elsewhere than it began
