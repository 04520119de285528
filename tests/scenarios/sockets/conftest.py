"""Upstreams that misbehave on real sockets: a loopback address each, and one port for all."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

NETWORK = "127.88.0."
RST = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset."""
OK, INTERNAL, UNAVAILABLE = 0, 13, 14
REFUSED_STREAM = 7
STATUSES = {"ok": (200, OK), "unavailable": (503, UNAVAILABLE), "error": (500, INTERNAL)}


class Upstream:
    """One address, and what it does with each request in turn; the last of it for ever."""

    def __init__(self, host: str, script: list[Any], beside: Callable[[], Future[Any]]) -> None:
        self.host = host
        self.script = script
        self._beside = beside
        self._writers: set[asyncio.StreamWriter] = set()

    async def next(self) -> str:
        """The word for the next request, once it is time to act on it."""
        word = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        match word:
            case {"slow": seconds}:
                await asyncio.sleep(seconds)
                return "ok"
            case {"meanwhile": _}:
                await asyncio.wrap_future(self._beside())
                return "ok"
            case _:
                return word

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            head = await reader.readexactly(3)
            await (self._http2 if head == b"PRI" else self._http1)(head, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _http1(self, head: bytes, reader, writer) -> None:
        while True:
            head += await reader.readuntil(b"\r\n\r\n")
            word = await self.next()
            if word not in STATUSES:
                await misbehave(word, reader, writer)
                return
            status = STATUSES[word][0]
            writer.write(f"HTTP/1.1 {status} said\r\ncontent-length: 2\r\n\r\nhi".encode())
            head = b""

    async def _http2(self, head: bytes, reader, writer) -> None:
        config = h2.config.H2Configuration(client_side=False)
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        answers: set[asyncio.Task] = set()
        data = head
        try:
            while data:
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.StreamEnded):
                        answering = self._answer(connection, event.stream_id, reader, writer)
                        answers.add(asyncio.create_task(answering))
                writer.write(connection.data_to_send())
                data = await reader.read(65536)
        finally:
            for answer in answers:
                answer.cancel()

    async def _answer(self, connection, stream: int, reader, writer) -> None:
        with suppress(ConnectionError, h2.exceptions.ProtocolError):
            word = await self.next()
            match word:
                case "refuses stream":
                    connection.reset_stream(stream, REFUSED_STREAM)
                case "goaway":
                    connection.close_connection(last_stream_id=0)
                case word if word in STATUSES:
                    respond(connection, stream, STATUSES[word][1])
                case _:
                    await misbehave(word, reader, writer)
                    return
            writer.write(connection.data_to_send())
            if word == "goaway":
                writer.close()


def respond(connection, stream: int, status: int) -> None:
    """Trailers only, where it is an error, as gRPC servers do."""
    headers = [(":status", "200"), ("content-type", "application/grpc")]
    trailers = [("grpc-status", str(status)), ("grpc-message", "as told")]
    if status:
        connection.send_headers(stream, headers + trailers, end_stream=True)
        return
    connection.send_headers(stream, headers)
    connection.send_data(stream, struct.pack(">BI", 0, 2) + b"hi")
    connection.send_headers(stream, trailers, end_stream=True)


async def misbehave(word: str, reader, writer) -> None:
    """What has nothing to do with any protocol."""
    match word:
        case "resets":
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            writer.transport.abort()
        case "drops":
            writer.close()
        case "hangs":
            while await reader.read(65536):
                pass
        case _:
            raise AssertionError(f"nobody knows how to do {word!r}")


class Upstreams:
    """All upstreams of a scene, on a thread with an event loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._close: list[Callable[[], None]] = []
        self.port = 0
        self.beside: Callable[[], Future[Any]] = Future

    def start(self, scripts: dict[int, list[Any]]) -> None:
        """Each number is the end of an address; who "refuses" does not even listen."""
        held = []
        for number, script in scripts.items():
            raw = socket.create_server((f"{NETWORK}{number}", self.port))
            self.port = raw.getsockname()[1]
            if script == ["refuses"]:
                raw.close()
            else:
                held.append((raw, Upstream(f"{NETWORK}{number}", list(script), self._call_beside)))
        for raw, upstream in held:
            self._run(self._serve(raw, upstream))

    def _call_beside(self) -> Future[Any]:
        return self.beside()

    async def _serve(self, raw: socket.socket, upstream: Upstream) -> None:
        server = await asyncio.start_server(upstream.talk, sock=raw)
        self._close += [server.close, upstream.close]

    def _run(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        async def close() -> None:
            for one in self._close:
                one()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._run(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    started = Upstreams()
    yield started
    started.stop()
