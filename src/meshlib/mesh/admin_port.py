"""A port of a member's own, for those who run it: metrics, whether it lives, and what it does."""

import hmac
import logging
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from socketserver import TCPServer
from typing import Any

from ..exposition import wanted_format
from .admin_options import LOOPBACK
from .pages import PLAIN, Answer, Asked, RefusedError

log = logging.getLogger("meshlib")

OPEN = ("/healthz", "/ready", "/readyz")
"""What an orchestrator asks, which has no token."""
PATIENCE = 10.0
"""Seconds that a client may take for all it has to say and to read."""
MOST = 32
"""Clients at once; each has a thread."""
LARGE = 16384
"""Octets from which on it is worth to send a part of an answer."""
GZIP = 31
"""As zlib has it."""
LOOK = 0.1
"""Seconds between two looks whether it is over."""

HARMLESS = {"Cache-Control": "no-cache, max-age=0", "X-Content-Type-Options": "nosniff"}
"""A browser keeps nothing, and runs nothing of what configuration may hold."""


def _nothing(asked: Asked) -> Answer:
    raise RefusedError(f"there is no {asked.path[:100]!r}", 404)


class AdminPort:
    """``metrics`` makes the pieces of the text in a format; ``unready`` says why not, "" when there
    is no reason. ``page`` answers all else, or raises :class:`RefusedError`.

    A port that cannot be had is logged, and the member goes on without.
    """

    def __init__(
        self,
        listen: str,
        token: str,
        *,
        metrics: Callable[[str], Iterable[str]],
        unready: Callable[[], str],
        page: Callable[[Asked], Answer] = _nothing,
    ) -> None:
        self._host, _, port = listen.rpartition(":")
        self._port = int(port)
        self._token = token
        self._metrics = metrics
        self._unready = unready
        self._page = page
        self._server: _V4 | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str | None:
        """``host:port`` with the real port, while it listens."""
        server = self._server
        return None if server is None else f"{self._host}:{server.server_address[1]}"

    def start(self) -> None:
        if self._server is not None:
            return
        kind = _V6 if self._host.startswith("[") else _V4
        try:
            server = kind((self._host.strip("[]"), self._port), _Handler)
        except OSError as error:
            said = f"admin port {self._host}:{self._port} cannot be had (0 is any that is free)"
            log.error("%s: %s", said, error)  # noqa: TRY400 - it needs no traceback
            return
        server.answer = self.answer
        thread = threading.Thread(
            target=server.serve_forever, args=(LOOK,), name="meshlib-admin", daemon=True
        )
        thread.start()
        self._server, self._thread = server, thread

    def close(self) -> None:
        server, self._server = self._server, None
        thread, self._thread = self._thread, None
        if server is not None and thread is not None:
            server.shutdown()
            server.server_close()
            server.cut_off()
            thread.join(PATIENCE)

    def begin_anew(self) -> None:
        """In a forked child: the thread is the parent's, and so is the port."""
        server, self._server, self._thread = self._server, None, None
        if server is not None:
            server.socket.close()

    def answer(self, target: str, host: str, authorization: str, accept: str) -> Answer:
        path = target.partition("?")[0]
        refused = self._refusal(path, host, authorization)
        if refused is not None:
            return refused
        match path:
            case "/healthz":
                return 200, PLAIN, "ok\n"
            case "/readyz":
                why = self._unready()
                return (503, PLAIN, f"{why}\n") if why else (200, PLAIN, "ready\n")
            case "/ready":
                why = self._unready()
                return (503, PLAIN, f"INITIALIZING\n{why}\n") if why else (200, PLAIN, "LIVE\n")
            case "/metrics" | "/stats/prometheus":
                content_type = wanted_format(accept)
                return 200, content_type, self._metrics(content_type)
            case _:
                return self._other(target)

    def _other(self, target: str) -> Answer:
        try:
            return self._page(Asked.of(target))
        except RefusedError as said:
            return said.answer

    def _refusal(self, path: str, host: str, authorization: str) -> Answer | None:
        """A web page that gave its own name our address must not read this (DNS rebinding)."""
        name = _name_of(host)
        if self._host in LOOPBACK and name not in LOOPBACK:
            return 403, PLAIN, f"host {name[:100]!r} is not this machine's loopback\n"
        if self._token and path not in OPEN:
            given = authorization.removeprefix("Bearer ").strip()
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return 401, PLAIN, "the admin token is wanted\n"
        return None


def _name_of(host: str) -> str:
    """Without the port: ``[::1]:15020`` is ``[::1]``."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


class _V4(ThreadingHTTPServer):
    daemon_threads = True
    answer: Callable[[str, str, str, str], Answer]

    def __init__(self, *asked: Any) -> None:
        self._until: dict[socket.socket, float] = {}
        super().__init__(*asked)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # without asking DNS for a name of this machine

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._until) >= MOST:
            self.shutdown_request(request)
            return
        self._until[request] = time.monotonic() + PATIENCE
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._until.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Whoever says a little now and then would hold a thread for ever."""
        self.cut_off(time.monotonic())

    @contextmanager
    def own_time(self, request: socket.socket) -> Iterator[None]:
        """What it takes to make a part of an answer is not the client's time."""
        left = self._until.get(request, 0.0) - time.monotonic()
        self._until[request] = inf
        try:
            yield
        finally:
            self._until[request] = time.monotonic() + left

    def cut_off(self, now: float = inf) -> None:
        for request, until in list(self._until.items()):
            if until <= now:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("admin port: %r", error, exc_info=error)


class _V6(_V4):
    address_family = socket.AF_INET6


def packed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Names of labels come again and again."""
    packer = zlib.compressobj(1, wbits=GZIP)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()


def gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Parts that are worth a packet; none is empty."""
    waiting = bytearray()
    for part in parts:
        waiting += part
        if len(waiting) >= LARGE:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


class _Handler(BaseHTTPRequestHandler):
    server: _V4
    timeout = PATIENCE
    server_version, sys_version = "meshlib", ""

    def do_GET(self) -> None:
        said = self.headers
        status, content_type, body = self.server.answer(
            self.path,
            said.get("Host", ""),
            said.get("Authorization", ""),
            said.get("Accept", ""),
        )
        if not isinstance(body, str):
            self._stream(content_type, body)
            return
        text = body.encode()
        self.send_response(status)
        self._head(content_type)
        self.send_header("Content-Length", str(len(text)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(text)

    def _stream(self, content_type: str, body: Iterable[str]) -> None:
        """Chunked, so that whoever reads knows what is not the whole; HTTP/1.0 has no chunks."""
        chunked = self.request_version == "HTTP/1.1"
        packs = "gzip" in self.headers.get("Accept-Encoding", "")
        self.protocol_version = "HTTP/1.1" if chunked else "HTTP/1.0"
        self.send_response(200)
        self._head(content_type)
        self.send_header("Connection", "close")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        if packs:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if self.command != "GET":
            return
        octets = (piece.encode() for piece in body)
        parts = gathered(packed(octets) if packs else octets)
        while part := self._next(parts):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _next(self, parts: Iterator[bytes]) -> bytes:
        with self.server.own_time(self.request):
            return next(parts, b"")

    def _head(self, content_type: str) -> None:
        self.send_header("Content-Type", content_type)
        for name, value in HARMLESS.items():
            self.send_header(name, value)

    do_HEAD = do_GET  # noqa: N815 - its name by which it is found

    def log_message(self, *_: Any) -> None:
        """Who scrapes scrapes often."""
