"""What a call that is served hands on to the calls that are made for it."""

from typing import Any, Protocol

from ..dataplane import Headers


class Propagation(Protocol):
    """What a server hook saw goes out with the calls made while it serves."""

    def receive(self, headers: Headers) -> object:
        """Remember the headers worth passing on; give the result back to :meth:`release`."""

    def release(self, token: Any) -> None: ...

    def outgoing(self, *, foreign: bool = False) -> Headers:
        """The headers to add to a call made now; mostly none.

        ``foreign``: the call leaves the mesh, where only the marks of a trace may go.
        """


class NoPropagation:
    def receive(self, headers: Headers) -> object:
        return None

    def release(self, token: Any) -> None:
        pass

    def outgoing(self, *, foreign: bool = False) -> Headers:
        return ()
