"""What the admin services of a server say: the messages, and the facts in them."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..dataplane import Engine
from .options import Options

if TYPE_CHECKING:
    from ..xds.bootstrap import Node
    from ..xds.watches import Entry

Watched = Callable[[], "tuple[Entry, ...] | None"]
"""What the mesh's control plane was asked for; ``None``: there is none."""


class AdminMessages:
    """Of one mesh, which is one client of control planes.

    What they are made with is loaded when somebody asks: few members are ever asked.
    """

    def __init__(self, options: Options, engine: Engine, watched: Watched) -> None:
        self._options = options
        self._engine = engine
        self._watched = watched
        self._node: Node | None = None

    def client_status(self, request: bytes) -> bytes:
        from ..xds import csds
        from .remote import node_of

        entries = self._watched()
        if entries is None:
            entries = csds.entries_of(self._engine.snapshot)
        if self._node is None:
            self._node = node_of(self._options)
        client = csds.Client(node=self._node, entries=entries, scope=self._options.service)
        now = time.time() - time.monotonic()  # noqa: TID251 - for eyes outside of this process
        return csds.answer(request, (client,), lambda reading: now + reading)

    def read_service(self, request: bytes) -> str | None:
        from ..xds.health import read_service

        return read_service(request)

    def write_status(self, status: str) -> bytes:
        from ..xds.health import write_status

        return write_status(status)
