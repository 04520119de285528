"""Tells a control plane of the load, for clusters that it wants that of. One thread, if any."""

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from ..clock import Clock, Dice
from ..errors import ConfigError
from ..model import Snapshot
from ..xds.backoff import Reconnects
from ..xds.bootstrap import Node
from ..xds.bootstrap_servers import Server
from ..xds.load_report import Ended, LoadStream, Wanted
from .upkeep import Upkeep

log = logging.getLogger("meshlib")

SHORTEST_INTERVAL = 1.0
CLOSING = 5.0

News = tuple[LoadStream, Wanted | Ended] | None
"""``None``: look again, there are other clusters or it is over."""


class LoadReports:
    """``server`` is the one that sends the clusters, which is whom ``lrs_server`` names."""

    def __init__(
        self,
        server: Callable[[], Server],
        node: Node,
        upkeep: Upkeep,
        *,
        clock: Clock,
        dice: Dice,
    ) -> None:
        self._server = server
        self._node = node
        self._upkeep = upkeep
        self._clock = clock
        self._reconnects = Reconnects(dice)
        self._mailbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_wanted = self._closed = False
        self._told = ""
        self._wanted: Wanted | None = None
        self._due: float | None = None
        self._answered: float | None = None

    def follow(self, snapshot: Snapshot) -> None:
        """A configuration came in force: begin, if any of its clusters is to be told of."""
        with self._lock:
            before = self._is_wanted
            self._is_wanted = any(cluster.lrs_server for cluster in snapshot.clusters.values())
            if self._is_wanted and self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="meshlib-lrs", daemon=True)
                self._thread.start()
        if before is not self._is_wanted:
            self._mailbox.put(None)

    def close(self) -> None:
        with self._lock:
            self._closed, thread = True, self._thread
        self._mailbox.put(None)
        if thread is not None:
            thread.join(CLOSING)

    def _run(self) -> None:
        while not self._closed:
            if self._is_wanted:
                self._rest(self._converse())
            else:
                self._mailbox.get()

    def _converse(self) -> float:
        """One stream, from its beginning to its end; seconds until there may be another."""
        server = self._server()
        self._wanted = self._due = self._answered = None
        try:
            stream = LoadStream(server, self._node, lambda *news: self._mailbox.put(news))
        except (ConfigError, ValueError, OSError, RuntimeError) as error:
            return self._ended(server, str(error))
        try:
            return self._ended(server, self._talk(stream))
        finally:
            stream.close()

    def _talk(self, stream: LoadStream) -> str:
        """How it ended; "": nothing is to be told any more."""
        while self._is_wanted and not self._closed:
            match self._next():
                case (of, _) if of is not stream:
                    pass  # one that was given up
                case (_, Ended(status)):
                    return status
                case (_, Wanted() as wanted):
                    self._asked(wanted)
                case _:
                    self._send_due(stream)
        return ""

    def _next(self) -> News:
        patience = None if self._due is None else max(0.0, self._due - self._clock())
        try:
            return self._mailbox.get(timeout=patience)
        except queue.Empty:
            return None

    def _asked(self, wanted: Wanted) -> None:
        now = self._clock()
        if self._answered is None:
            self._answered, self._told = now, ""
            self._reconnects.answered()
        if self._wanted is None or self._wanted.interval != wanted.interval:
            self._due = now + max(wanted.interval, SHORTEST_INTERVAL)
        self._wanted = wanted

    def _send_due(self, stream: LoadStream) -> None:
        wanted, now = self._wanted, self._clock()
        if wanted is None or self._due is None or now < self._due:
            return
        self._due = now + max(wanted.interval, SHORTEST_INTERVAL)
        stream.send(self._upkeep.loads(wanted.__contains__), endpoints=wanted.endpoints)

    def _ended(self, server: Server, status: str) -> float:
        if status and status != self._told:
            log.warning("load reports: %s: %s", server.server_uri, status)
        self._told = status
        if self._answered is None:
            return self._reconnects.after_failure() if status else 0.0
        return self._reconnects.after_life(self._clock() - self._answered)

    def _rest(self, seconds: float) -> None:
        until = self._clock() + seconds
        while not self._closed and (left := until - self._clock()) > 0:
            with suppress(queue.Empty):
                self._mailbox.get(timeout=left)
