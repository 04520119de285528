"""At which port of a gRPC server a call came in: grpcio says whence, and not where.

The mesh knows the ports that it has let a server listen at, and by gRPC core's own count (channelz)
that there are no others. By which server a call comes is found behind it: one that is not known
has no place. All of it for the sake of policies, which take what is unknown to speak against the
caller.
"""

import gc
import json
import sys
import threading
import weakref
from collections.abc import Callable
from importlib import import_module
from ipaddress import ip_address
from typing import Any

import grpc.aio

from ..dataplane.routing.ip_ranges import place_of

cygrpc: Any = import_module("grpc._cython.cygrpc")  # no stubs know it
HANDED_ON = "meshlib/"
"""The name of a connection that was handed on begins so; then follow whence and where it came,
and a number."""
NAMES = sys.platform == "linux"
ABSTRACT = "unix-abstract:"
DEPTH = 3
"""So many objects lie between a call of asyncio and its server."""
ON_THE_WAY = tuple(
    getattr(cygrpc, name, None) for name in ("RPCState", "_ServicerContext", "_SyncServicerContext")
)
SERVER = getattr(cygrpc, "AioServer", None)
"""Names that may change with any release: then no port is known, and what asks for it fails."""

_lock = threading.Lock()
_known: dict[int, "Places"] = {}


class Places:
    """Where one server listens."""

    def __init__(self) -> None:
        self._plain: set[str] = set()
        self._secure: set[str] = set()
        self._fronted = False
        self._channelz = ""
        self._sockets = 0
        self._is_odd = False
        self._is_whole: bool | None = None

    def bind(self, listen: Callable[[], int]) -> int:
        """Let it listen; the port."""
        with _lock:
            before = _listening()
            port = listen()
            self._count(before, _listening())
        return port

    def add(self, local: str, *, secure: bool) -> None:
        """It is called there."""
        (self._secure if secure else self._plain).add(local)

    def add_front(self, local: str) -> None:
        """Whose connections have names that say where they came in, where names can be had."""
        if NAMES:
            self._fronted = True
        else:
            self._plain.add(local)
            self._secure.add(local)

    def _count(self, before: dict[str, int], after: dict[str, int]) -> None:
        grown = [one for one, count in after.items() if count > before.get(one, 0)]
        ours = self._channelz
        if len(grown) != 1 or (ours and grown[0] != ours):
            self._is_odd = True
        elif before.get(grown[0], 0) != self._sockets:
            self._is_odd = True  # it listens at what somebody else let it
        else:
            self._channelz, self._sockets = grown[0], after[grown[0]]

    def at(self, peer: str, *, secure: bool) -> str:
        """``ip:port`` or ``:port``; "" where that is not known."""
        if self._is_whole is None:  # there are calls, so no port is added any more
            self._is_whole = not self._is_odd and (
                _listening().get(self._channelz) == self._sockets
            )
        if not self._is_whole:
            return ""
        if self._fronted and peer.startswith(ABSTRACT + HANDED_ON):
            return peer.rpartition("/")[0].rpartition("/")[2]
        known = self._secure if secure else self._plain
        if len(known) == 1:
            return next(iter(known))
        ports = {place_of(one).port for one in known}
        return f":{port}" if len(ports) == 1 and (port := ports.pop()) is not None else ""


def local_address(address: str, port: int) -> str:
    """Of the port that a server was let listen at; the address only where there is one alone."""
    if address.startswith(("unix:", "unix-abstract:")):
        return ""
    host = address.removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")[0]
    try:
        ip = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return f":{port}"
    if ip.is_unspecified:
        return f":{port}"
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def places_of(server: Any) -> Places:
    """Of a server, synchronous or asyncio, that a mesh lets listen."""
    key = _key(server)
    if key is None:
        return Places()
    found = _known.get(key)
    if found is None:
        found = _known[key] = Places()
        weakref.finalize(server, _known.pop, key, None)
    return found


def _key(server: Any) -> int | None:
    """By what a call can be told to be one of its."""
    if isinstance(server, grpc.aio.Server):
        return id(getattr(server, "_server", server))
    pipeline = getattr(getattr(server, "_state", None), "interceptor_pipeline", None)
    return None if pipeline is None else id(pipeline)


def places_behind(continuation: Any) -> Places | None:
    """By what the interceptor of a synchronous server is told."""
    cells = getattr(continuation, "__closure__", None)
    if not _known or not cells:
        return None
    for cell in cells:
        found = _known.get(id(cell.cell_contents))
        if found is not None:
            return found
    return None


def places_under(context: Any) -> Places | None:
    """By the context of a call of asyncio."""
    if not _known:
        return None
    looked_at = context
    for _ in range(DEPTH):
        inner = None
        for each in gc.get_referents(looked_at):
            if type(each) is SERVER:
                return _known.get(id(each))
            if type(each) in ON_THE_WAY:
                inner = each
        looked_at = inner
    return None


def _listening() -> dict[str, int]:
    """The servers of this process, and at how many sockets each listens."""
    found: dict[str, int] = {}
    start = 0
    while True:
        page = json.loads(cygrpc.channelz_get_servers(start))
        for one in page.get("server", ()):
            found[one["ref"]["serverId"]] = len(one.get("listenSocket", ()))
        if page.get("end") or not page.get("server"):
            return found
        start = max(map(int, found)) + 1
