"""The streams of a client, one to each server at most, and what it is told of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .bootstrap import Node, Server
from .encodings import Request, SendDelta
from .responses import ResponseReceived
from .transport import KEEPALIVE, News, Stream

CONNECT_TIMEOUT = 5.0
"""Seconds for a stream to take its first request."""
LONGEST_SILENCE = 7200.0

Wire = Callable[[str, dict[str, Any]], None]
"""Hears everything that is said: "opened", "sent", "received" or "closed", and the message."""


class Connect(Protocol):
    def __call__(
        self,
        server: Server,
        node: Node,
        post: Callable[[News], None],
        *,
        delta: bool,
        keepalive: float,
    ) -> Stream: ...


@dataclass(slots=True)
class Line:
    """``connect_by`` until the first request was taken."""

    server: Server
    stream: Stream
    delta: bool
    number: int
    connect_by: float | None


class Lines:
    """Belongs to the client's thread."""

    def __init__(
        self,
        node: Node,
        post: Callable[[News], None],
        connect: Connect = Stream,
        wire: Wire | None = None,
    ) -> None:
        self._node = node
        self._post = post
        self._connect = connect
        self._wire = wire
        self._lines: dict[Server, Line] = {}
        self._keepalive: dict[Server, float] = {}
        self._count = 0

    def open(self, server: Server, now: float, *, delta: bool) -> None:
        keepalive = self.keepalive_of(server)
        stream = self._connect(server, self._node, self._post, delta=delta, keepalive=keepalive)
        self._count += 1
        line = Line(server, stream, delta, self._count, now + CONNECT_TIMEOUT)
        self._lines[server] = line
        self._tell("opened", line, {})

    def send(self, server: Server, request: Request) -> None:
        if (line := self._lines.get(server)) is not None:
            line.stream.send(request)
            self._tell("sent", line, shown_request(request))

    def received(self, line: Line, response: ResponseReceived) -> None:
        self._tell("received", line, shown_response(response, delta=line.delta))

    def of(self, stream: Stream) -> Line | None:
        """``None`` for a stream that was given up."""
        return next((line for line in self._lines.values() if line.stream is stream), None)

    def overdue(self, now: float) -> list[Line]:
        return [x for x in self._lines.values() if x.connect_by is not None and x.connect_by <= now]

    def deadline(self) -> float | None:
        times = (line.connect_by for line in self._lines.values())
        return min((time for time in times if time is not None), default=None)

    def close(self, server: Server, status: str = "") -> None:
        if (line := self._lines.pop(server, None)) is not None:
            line.stream.close()
            self._tell("closed", line, {"status": status})

    def close_all(self) -> None:
        for server in tuple(self._lines):
            self.close(server)

    def keepalive_of(self, server: Server) -> float:
        return self._keepalive.get(server, KEEPALIVE)

    def ping_less(self, server: Server) -> None:
        """The server took our pings for an attack."""
        self._keepalive[server] = min(2 * self.keepalive_of(server), LONGEST_SILENCE)

    def _tell(self, what: str, line: Line, message: dict[str, Any]) -> None:
        if self._wire is not None:
            place = {"server": line.server.server_uri, "stream": line.number, "delta": line.delta}
            self._wire(what, {**place, **message})


def shown_request(request: Request) -> dict[str, Any]:
    """Under the field names of the protocol; ``node`` is but said to be there."""
    said: dict[str, Any] = {"type_url": request.type_url, "response_nonce": request.nonce}
    if isinstance(request, SendDelta):
        said["resource_names_subscribe"] = list(request.subscribe)
        said["resource_names_unsubscribe"] = list(request.unsubscribe)
        said["initial_resource_versions"] = dict(request.versions)
    else:
        said["resource_names"] = list(request.names)
        said["version_info"] = request.version
    if request.error:
        said["error_detail"] = {"message": request.error}
    if request.first:
        said["node"] = True
    return said


def shown_response(response: ResponseReceived, *, delta: bool) -> dict[str, Any]:
    """Resources by name and version, as far as they are told: what they hold is no protocol."""
    version = "system_version_info" if delta else "version_info"
    said: dict[str, Any] = {
        "type_url": response.type_url,
        "nonce": response.nonce,
        version: response.version,
        "resources": [{"name": each.name, "version": each.version} for each in response.resources],
        "resource_errors": [error.name for error in response.errors],
    }
    if delta:
        said["removed_resources"] = list(response.removed)
    return said
