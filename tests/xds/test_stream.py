"""One stream is one call: gRPC makes none again behind the client's back."""

import queue
import socket
import threading

import pytest

from meshlib.xds.bootstrap import Node, Server
from meshlib.xds.encodings import SendRequest
from meshlib.xds.transport import Ended, News, Sent, Stream
from meshlib.xds.types import LISTENER

PATIENCE = 20.0
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
# "I saw none of your calls": leave to make them again, on another connection.
GOAWAY = b"\0\0\x08\7\0\0\0\0\0" + bytes(8)
HEADERS = 1


def next_frame(reader) -> int:
    head = reader.read(9)
    reader.read(int.from_bytes(head[:3]))
    return head[3]


def send_away(near: socket.socket) -> None:
    with near, near.makefile("rb") as reader:
        near.sendall(SETTINGS)
        reader.read(24)  # the preface
        while next_frame(reader) != HEADERS:
            pass
        near.sendall(GOAWAY)
        reader.read()


class Draining:
    """Greets, waits for a call and hangs up."""

    def __init__(self) -> None:
        self.calls = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            self.calls += 1
            threading.Thread(target=send_away, args=[near], daemon=True).start()


@pytest.fixture
def draining():
    server = Draining()
    yield server
    server.close()


def test_a_call_that_a_server_sends_away_ends_the_stream(draining: Draining) -> None:
    posted: queue.SimpleQueue[News] = queue.SimpleQueue()
    stream = Stream(Server(server_uri=f"127.0.0.1:{draining.port}"), Node(), posted.put)
    stream.send(SendRequest(LISTENER, ("a",), first=True))
    while isinstance(news := posted.get(timeout=PATIENCE), Sent):
        pass
    stream.close()
    assert isinstance(news, Ended)
    assert draining.calls == 1
