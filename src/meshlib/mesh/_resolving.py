"""Upkeep of a STRICT_DNS cluster: what its names stand for, asked again and again."""

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from ..dataplane.upstream.cluster import UpstreamCluster
from ..dataplane.upstream.dns import names_of
from ..model import StrictDns

log = logging.getLogger("meshlib")

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
"""From a name to its addresses, in an order of their own; :class:`OSError` where that fails."""

Tell = Callable[[str, Mapping[str, tuple[str, ...]]], None]
"""Of a cluster: what some of its names have come to stand for."""


class Resolving:
    """A name that cannot be resolved keeps what it stood for last."""

    def __init__(self, config: StrictDns, resolve: Resolve, tell: Tell) -> None:
        self._config = config
        self._resolve = resolve
        self._tell = tell
        self._known: dict[str, tuple[str, ...]] = {}
        self._failing: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def follow(self, cluster: UpstreamCluster) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(cluster.name))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, cluster: str) -> None:
        names = sorted(names_of(self._config.load_assignment))
        while True:
            await asyncio.gather(*(self._ask(cluster, name) for name in names))
            await asyncio.sleep(self._config.dns_refresh_rate)

    async def _ask(self, cluster: str, name: str) -> None:
        try:
            found = await self._resolve(name)
        except OSError as error:
            if name not in self._failing:
                log.warning("cluster %s: %s cannot be resolved: %s", cluster, name, error)
            self._failing.add(name)
            return
        self._failing.discard(name)
        if found and found != self._known.get(name):
            self._known[name] = found
            self._tell(cluster, {name: found})


async def addresses_of(name: str) -> tuple[str, ...]:
    """All of the system's answer, IPv6 and IPv4.

    On a thread of its own: those of an event loop would make the program wait for a name server
    that does not answer before it may end.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[tuple[str, ...]] = loop.create_future()

    def settle(answer: tuple[str, ...] | OSError) -> None:
        if found.done():
            return
        if isinstance(answer, OSError):
            found.set_exception(answer)
        else:
            found.set_result(answer)

    def ask() -> None:
        answer: tuple[str, ...] | OSError
        try:
            answer = _resolved(name)
        except OSError as error:
            answer = error
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, answer)

    threading.Thread(target=ask, name=f"meshlib-dns-{name}", daemon=True).start()
    return await found


def _resolved(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label is empty, or too long
        raise OSError(f"not a name: {error}") from None
    return tuple(sorted({str(address[0]) for *_, address in found}))
