"""The rawest client of the control plane that there can be: one connection, HTTP/2 by hand.

It reads no more of a response than its type and nonce, so that a thousand of them fit beside the
control plane on one machine without being what is measured.
"""

import asyncio
import struct
import time
from typing import Any

from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

DISCOVERY = "envoy.service.discovery.v3"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
ACK = END_HEADERS = 4
ENDLESS = 2**31 - 1
FIRST_WINDOW = 65_535


class RawClient(asyncio.Protocol):
    """``heard``: when each response of endpoints came, since the list was cleared."""

    def __init__(self, number: int, services: int, *, delta: bool, news: asyncio.Event) -> None:
        self._number = number
        self._services = services
        self._delta = delta
        self._news = news
        kind = "Delta" if delta else ""
        self._request = message_class(f"{DISCOVERY}.{kind}DiscoveryRequest")
        self._response = message_class(f"{DISCOVERY}.{kind}DiscoveryResponse")
        self._names: dict[str, list[str]] = {}
        self._buffer = b""
        self._body = b""
        self._transport: Any = None
        self.heard: list[float] = []
        self.known: set[str] = set()
        self.error = ""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        method = "DeltaAggregatedResources" if self._delta else "StreamAggregatedResources"
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": f"/{DISCOVERY}.AggregatedDiscoveryService/{method}",
            ":authority": "bench",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        block = b"".join(b"\0" + text(k) + text(v) for k, v in headers.items())
        transport.write(
            PREFACE
            + frame(SETTINGS, struct.pack("!HI", 4, ENDLESS))
            + frame(WINDOW, struct.pack("!I", ENDLESS - FIRST_WINDOW))
            + frame(HEADERS, block, END_HEADERS, 1)
        )
        hosts = [f"svc-{number}.default.svc.cluster.local" for number in range(self._services)]
        clusters = [f"outbound|9080||{host}" for host in hosts]
        self._ask(CLUSTER, clusters, first=True)
        self._ask(ENDPOINT, clusters)
        self._ask(LISTENER, [f"{host}:9080" for host in hosts])
        self._ask(ROUTE, clusters)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < 9 + length:
                return
            kind, flags = self._buffer[3], self._buffer[4]
            payload, self._buffer = self._buffer[9 : 9 + length], self._buffer[9 + length :]
            if kind == DATA:
                self._told(payload)
            elif kind in (SETTINGS, PING) and not flags & 1:
                answer = payload if kind == PING else b""
                self._transport.write(frame(kind, answer, 1))
            elif kind in (RESET, GOAWAY):
                self.error = f"frame {kind}: {payload!r}"

    def connection_lost(self, error: Exception | None) -> None:
        self.error = self.error or f"connection lost: {error}"
        self._news.set()

    def close(self) -> None:
        self._transport.abort()

    def _told(self, payload: bytes) -> None:
        self._body += payload
        while len(self._body) >= 5:
            length = int.from_bytes(self._body[1:5], "big")
            if len(self._body) < 5 + length:
                return
            message, self._body = self._body[5 : 5 + length], self._body[5 + length :]
            self._answer(self._response.FromString(message))

    def _answer(self, response: Any) -> None:
        if response.type_url == ENDPOINT:
            self.heard.append(time.monotonic())
        self.known.add(response.type_url)
        self._news.set()
        request = self._request(type_url=response.type_url, response_nonce=response.nonce)
        if not self._delta:
            request.version_info = response.version_info
            request.resource_names.extend(self._names[response.type_url])
        self._send(request)

    def _ask(self, type_url: str, names: list[str], *, first: bool = False) -> None:
        request = self._request(type_url=type_url)
        wanted = request.resource_names_subscribe if self._delta else request.resource_names
        wanted.extend(names)
        self._names[type_url] = names
        if first:
            request.node.id = f"bench-{self._number}"
            request.node.user_agent_name = "meshlib"
        self._send(request)

    def _send(self, request: Any) -> None:
        message = request.SerializeToString()
        message = b"\0" + len(message).to_bytes(4, "big") + message
        for at in range(0, len(message), 16_384):
            self._transport.write(frame(DATA, message[at : at + 16_384], 0, 1))


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack("!IBI", len(payload) << 8 | kind, flags, stream) + payload


def text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()
