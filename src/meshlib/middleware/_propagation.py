"""What a call that is served hands on to the calls that are made for it, and what is traced."""

from typing import Any, Protocol

from ..dataplane import Headers, Request, Send


class Trace(Protocol):
    """What is traced of one call that is made here; it is ``request.meter.trace``."""

    def attempt(self, send: Send) -> Headers:
        """An attempt begins: its headers, which stand in the place of those of the same names."""


class Propagation(Protocol):
    """What a server hook saw goes out with the calls made while it serves."""

    def receive(self, request: Request) -> object:
        """A handler is entered: remember what is worth handing on, and trace the call.

        Give the result back to :meth:`release`. Where the call is traced, ``request.meter.trace``
        is set.
        """

    def release(self, token: Any) -> None: ...

    def outgoing(self, *, foreign: bool = False) -> Headers:
        """The headers to add to a call made now; mostly none.

        ``foreign``: the call leaves the mesh, where only the marks of a trace may go.
        """

    def begin(self, request: Request, *, foreign: bool = False) -> None:
        """A call is to be made: where it is traced, ``request.meter.trace`` is a :class:`Trace`."""

    def attempt(self, send: Send) -> Headers:
        """What :meth:`Trace.attempt` says of a call that is traced; never raises."""


class NoPropagation:
    def receive(self, request: Request) -> object:
        return None

    def release(self, token: Any) -> None:
        pass

    def outgoing(self, *, foreign: bool = False) -> Headers:
        return ()

    def begin(self, request: Request, *, foreign: bool = False) -> None:
        pass

    def attempt(self, send: Send) -> Headers:
        return ()
