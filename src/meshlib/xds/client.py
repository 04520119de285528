"""The xDS client: a thread that listens to a control plane and says what the mesh is now."""

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..clock import Clock, Dice
from ..errors import ConfigError
from ..model import Snapshot
from .ads import OpenStream, Report, RequestSent, SendRequest, StreamClosed, StreamOpened
from .bootstrap import Bootstrap, Node, Server
from .codec import decode as decode_resource
from .discovery import Discovery, Effect, TypeStatus
from .names import authority_of, canonical
from .resolver import Update
from .responses import Decode
from .transport import (
    Ended,
    GarbageError,
    News,
    Received,
    Sent,
    Stream,
    can_connect,
    decode_response,
)

CONNECT_TIMEOUT = 5.0
"""Seconds for a stream to take its first request."""


@dataclass(frozen=True, slots=True)
class _Wake:
    """Look again: there are new names, or it is over."""


class XdsClient:
    """``on_update`` and ``on_problem`` are called from the client's own thread, without locks.

    Every method may be called from any thread. A child made by ``fork`` builds a client of its own.
    """

    def __init__(
        self,
        bootstrap: Bootstrap,
        *,
        on_update: Callable[[Snapshot, frozenset[str]], None],
        on_problem: Callable[[str], None],
        clock: Clock,
        dice: Dice,
        decode: Decode = decode_resource,
        connect: Callable[[Server, Node, Callable[[News], None]], Stream] = Stream,
    ) -> None:
        self._bootstrap = bootstrap
        self._server = bootstrap.xds_servers[0]
        self._on_update = on_update
        self._on_problem = on_problem
        self._clock = clock
        self._connect = connect
        self._discovery = Discovery(decode, dice=dice, server_features=self._server.server_features)
        self._mailbox: queue.SimpleQueue[News | _Wake] = queue.SimpleQueue()
        self._watched: dict[str, None] = {}
        self._lock = threading.Lock()  # of the three below; never held across a call-back
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._closed = False
        self._unasked: list[str] = []
        self._stream: Stream | None = None
        self._connect_by: float | None = None
        self._last = Update(Snapshot(), frozenset())

    def start(self) -> None:
        """Idempotent; the stream opens when the first listener is watched."""
        with self._lock:
            if self._thread is not None or self._closed:
                return
            self._thread = threading.Thread(target=self._run, name="meshlib-ads", daemon=True)
            self._pid = os.getpid()
            self._thread.start()

    def watch(self, listener: str) -> None:
        """Ask for a listener and all that it leads to; cheap when that was done before.

        Raises :class:`ConfigError` for a name of an authority that this client cannot ask.
        """
        if listener in self._watched:
            return
        self._check_authority(listener)
        with self._lock:
            if listener in self._watched:
                return
            self._watched[listener] = None
            self._unasked.append(listener)
        self._mailbox.put(_Wake())

    def close(self) -> None:
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is None or self._pid != os.getpid():
            return
        self._mailbox.put(_Wake())
        if thread is not threading.current_thread():
            thread.join(timeout=5.0)

    def reach(self, timeout: float) -> bool:
        """Block until the server can be connected to; ``False`` after ``timeout`` seconds."""
        if self._discovery.ads.connected:
            return True
        try:
            return can_connect(self._server, timeout)
        except ConfigError as error:
            self._on_problem(str(error))
            return False

    def is_ready(self) -> bool:
        """Is everything that was watched so far settled, one way or the other?"""
        last = self._last
        names = map(canonical, tuple(self._watched))
        return all(name in last.snapshot.listeners or name in last.absent for name in names)

    def ignored(self) -> tuple[str, ...]:
        """``resource: field path`` of what is accepted but not acted on."""
        entries = self._discovery.watches.entries()
        return tuple(f"{entry.name}: {path}" for entry in entries for path in entry.ignored)

    def status(self) -> dict[str, Any]:
        """What is known of the control plane and of each resource, as JSON values.

        ``last_good_age`` is the age in seconds of the newest resource that was accepted.
        """
        now, types = self._clock(), self._discovery.status()
        entries = [entry for each in types for entry in each.resources]
        updated = max((e.updated for e in entries if e.updated is not None), default=None)
        return {
            "server": self._server.server_uri,
            "node": self._bootstrap.node.id,
            "connected": self._discovery.ads.connected,
            "error": self._discovery.watches.connection_error,
            "last_stream_status": self._discovery.ads.last_status,
            "version": self._last.snapshot.version,
            "last_good_age": None if updated is None else now - updated,
            "types": {each.type_url: _type_status(each) for each in types},
        }

    # The thread

    def _run(self) -> None:
        self._warn_of_unused()
        while not self._closed:
            self._turn()
        if self._stream is not None:
            self._stream.close()

    def _warn_of_unused(self) -> None:
        others = [server.server_uri for server in self._bootstrap.xds_servers[1:]]
        if others:
            self._problem(f"fall-back servers are not used: {', '.join(others)}")

    def _turn(self) -> None:
        try:
            news = self._next()
            self._perform(self._step(news))
            if isinstance(news, Received) and news.stream is self._stream:
                # Only now: a server must not send faster than its news are taken in.
                news.stream.read()
        except Exception as error:  # noqa: BLE001 - no surprise may end the client
            self._problem(f"surprised by {error!r}")
            self._perform(self._ended(f"surprised by {error!r}"))

    def _next(self) -> News | _Wake | None:
        try:
            return self._mailbox.get(timeout=self._patience())
        except queue.Empty:
            return None

    def _step(self, news: News | _Wake | None) -> tuple[Effect, ...]:
        now = self._clock()
        match news:
            case None:
                return self._tick(now)
            case _Wake():
                with self._lock:
                    names, self._unasked = self._unasked, []
                return self._discovery.watch(names, now)
            case Sent(stream, request) if stream is self._stream:
                self._connect_by = None
                return self._discovery.handle(RequestSent(request), now)
            case Received(stream, message) if stream is self._stream:
                return self._received(message, now)
            case Ended(stream, status) if stream is self._stream:
                return self._ended(status)
        return ()

    def _patience(self) -> float | None:
        times = [t for t in (self._connect_by, self._discovery.deadline()) if t is not None]
        return max(0.0, min(times) - self._clock()) if times else None

    def _tick(self, now: float) -> tuple[Effect, ...]:
        if self._connect_by is not None and self._connect_by <= now:
            return self._ended(f"no connection within {CONNECT_TIMEOUT:g} s")
        return self._discovery.tick(now)

    def _received(self, message: bytes, now: float) -> tuple[Effect, ...]:
        try:
            response = decode_response(message)
        except GarbageError as error:
            return self._ended(str(error))
        return self._discovery.handle(response, now)

    def _ended(self, status: str) -> tuple[Effect, ...]:
        if self._stream is not None:
            self._stream.close()
        self._stream = self._connect_by = None
        return self._discovery.handle(
            StreamClosed(f"{self._server.server_uri}: {status}"), self._clock()
        )

    def _perform(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case OpenStream():
                    self._perform(self._open())
                case SendRequest():
                    if self._stream is not None:
                        self._stream.send(effect)
                case Report(text):
                    self._problem(text)
                case Update():
                    self._publish(effect)

    def _open(self) -> tuple[Effect, ...]:
        try:
            self._stream = self._connect(self._server, self._bootstrap.node, self._mailbox.put)
        except (ConfigError, ValueError, OSError, RuntimeError) as error:
            return self._ended(str(error))
        now = self._clock()
        self._connect_by = now + CONNECT_TIMEOUT
        return self._discovery.handle(StreamOpened(), now)

    def _publish(self, update: Update) -> None:
        self._last = update
        try:
            self._on_update(update.snapshot, update.absent)
        except Exception as error:  # noqa: BLE001 - what the listener does must not stop the news
            self._problem(f"configuration {update.snapshot.version} cannot be applied: {error!r}")

    def _problem(self, text: str) -> None:
        with contextlib.suppress(Exception):
            self._on_problem(f"{text} (node {self._bootstrap.node.id})")

    def _check_authority(self, listener: str) -> None:
        authority = authority_of(listener, self._bootstrap.authorities)
        if authority is None:
            return
        if self._bootstrap.authorities[authority].get("xds_servers"):
            raise ConfigError(
                f"{listener!r}: authority {authority!r} has servers of its own; this client "
                f"asks {self._server.server_uri} only"
            )


def _type_status(status: TypeStatus) -> dict[str, Any]:
    return {
        "version": status.version,
        "nonce": status.nonce,
        "error": status.error,
        "resources": {
            entry.name: {
                "state": entry.state.value,
                "cached": entry.resource is not None,
                "version": entry.version,
                "error": entry.error,
                "ignored": list(entry.ignored),
            }
            for entry in status.resources
        },
    }
