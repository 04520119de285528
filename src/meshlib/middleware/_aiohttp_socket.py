"""What the messages of WebSockets weigh, as the applications at both ends see them: text in UTF-8.

Neither frames count, nor pings and whatever else the sockets say to each other.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import ClientResponse, ClientWebSocketResponse, WSMsgType, web

from ..dataplane import Meter

MESSAGES = frozenset({WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION})
METERS: "WeakKeyDictionary[ClientResponse, Meter]" = WeakKeyDictionary()
"""Of calls that have become WebSockets, by what answered them."""

Bound = Callable[..., Awaitable[Any]]


class MeshWebSocket(ClientWebSocketResponse):
    """The caller's end, of sessions that have no kind of their own."""

    def __init__(
        self, reader: Any, writer: Any, protocol: Any, response: Any, *more: Any, **kw: Any
    ) -> None:
        super().__init__(reader, writer, protocol, response, *more, **kw)
        self._meter = METERS.get(response) or Meter()

    async def receive(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - aiohttp's own
        message = await super().receive(timeout)
        self._meter.response_bytes += _received(message)
        return message

    async def send_str(self, data: str, compress: int | None = None) -> None:
        await super().send_str(data, compress)
        self._meter.request_bytes += octets_of(data)

    async def send_bytes(self, data: bytes, compress: int | None = None) -> None:
        await super().send_bytes(data, compress)
        self._meter.request_bytes += octets_of(data)

    async def send_frame(
        self, message: bytes, opcode: WSMsgType, compress: int | None = None
    ) -> None:
        await super().send_frame(message, opcode, compress)
        if opcode in MESSAGES:
            self._meter.request_bytes += octets_of(message)


def count_socket(socket: "web.WebSocketResponse[Any]", meter: Meter) -> None:
    """The other end, which the application made."""
    own = socket.__dict__
    own["receive"] = partial(_receive, socket.receive, meter)
    own["send_str"] = partial(_send, socket.send_str, meter)
    own["send_bytes"] = partial(_send, socket.send_bytes, meter)
    own["send_frame"] = partial(_send_frame, socket.send_frame, meter)


async def _receive(receive: Bound, meter: Meter, *how: Any, **more: Any) -> Any:
    message = await receive(*how, **more)
    meter.request_bytes += _received(message)
    return message


async def _send(send: Bound, meter: Meter, data: Any, *how: Any, **more: Any) -> None:
    await send(data, *how, **more)
    meter.response_bytes += octets_of(data)


async def _send_frame(
    send: Bound, meter: Meter, message: bytes, opcode: WSMsgType, *how: Any, **more: Any
) -> None:
    await send(message, opcode, *how, **more)
    if opcode in MESSAGES:
        meter.response_bytes += octets_of(message)


def _received(message: Any) -> int:
    return octets_of(message.data) if message.type in MESSAGES else 0


def octets_of(data: Any) -> int:
    if isinstance(data, str):
        return len(data) if data.isascii() else len(data.encode())
    return memoryview(data).nbytes
