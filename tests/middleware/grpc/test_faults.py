"""Connections that break, as gRPC core reports them."""

import asyncio
import contextlib
import socket
import struct
import threading

import grpc
import pytest

from meshlib import CallError
from meshlib.dataplane import Cause
from meshlib.model import RetryBackOff, RetryPolicy

SOON = RetryBackOff(base_interval=0.001)
ALLOWED = 0.2
"""The seconds that a call may take."""
HEADERS, RST_STREAM, SETTINGS, GOAWAY = 1, 3, 4, 7


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes((kind, flags))
        + struct.pack(">I", stream)
        + payload
    )


class Broken:
    """An HTTP/2 server that does one bad thing to each call."""

    def __init__(self, misdeed) -> None:
        self.calls = 0
        self._misdeed = misdeed
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._open.append(connection)
                threading.Thread(target=self._speak, args=(connection,), daemon=True).start()

    def _speak(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(frame(SETTINGS, 0, 0))
            stream = connection.makefile("rb")
            stream.read(24)  # the preface
            while head := stream.read(9):
                payload = stream.read(int.from_bytes(head[:3], "big"))
                self._frame(connection, head[3], head[4], int.from_bytes(head[5:], "big"))
                del payload

    def _frame(self, connection: socket.socket, kind: int, flags: int, stream: int) -> None:
        if kind == SETTINGS and not flags:
            connection.sendall(frame(SETTINGS, 1, 0))
        elif kind == HEADERS:
            self.calls += 1
            self._misdeed(connection, stream)

    def close(self) -> None:
        self._listening.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def hang_up(connection, stream):
    connection.shutdown(socket.SHUT_RDWR)


def refuse(connection, stream):
    connection.sendall(frame(RST_STREAM, 0, stream, struct.pack(">I", 7)))


def cancel(connection, stream):
    with contextlib.suppress(OSError):  # the client may be gone
        connection.sendall(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))


def give_up(connection, stream):
    """As a server does whose clock says first that the time is over."""
    threading.Timer(ALLOWED - 0.002, cancel, (connection, stream)).start()


def go_away(connection, stream):
    """With an error, after the call was taken up."""
    connection.sendall(frame(GOAWAY, 0, 0, struct.pack(">II", stream, 2)))
    connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def broken():
    made = []

    def make(misdeed):
        made.append(Broken(misdeed))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.mark.parametrize("kind", ["unary", "down"])
@pytest.mark.parametrize(
    ("misdeed", "cause"),
    [(hang_up, Cause.RESET), (go_away, Cause.RESET), (refuse, Cause.REFUSED)],
)
async def test_a_broken_call_is_not_sent_again_by_itself(
    world, call_by, broken, start, echo, kind, misdeed, cause
):
    server, other = broken(misdeed), echo()
    world.serve(server.port)
    with pytest.raises(grpc.RpcError) as caught:
        await getattr(call_by(world), kind)()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not isinstance(caught.value, CallError)
    assert caught.value.mesh.flags == cause.flags
    assert world.ended[-1].outcome.cause is cause
    assert not other.calls
    assert world.active == 0


@pytest.mark.parametrize("kind", ["unary", "down", "up", "both"])
async def test_a_call_that_its_server_gave_up_in_the_end_came_to_its_deadline(
    world, call_by, broken, kind
):
    world.serve(broken(give_up).port)
    with pytest.raises(grpc.RpcError) as caught:
        await getattr(call_by(world), kind)(timeout=ALLOWED)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.mesh.flags in (Cause.DEADLINE.flags, Cause.TIMEOUT.flags)
    assert world.ended[-1].outcome.cause in (Cause.DEADLINE, Cause.TIMEOUT)
    assert world.active == 0


@pytest.mark.parametrize("kind", ["unary", "down"])
async def test_a_call_that_its_server_cancels_before_its_time_is_cancelled(
    world, call_by, broken, kind
):
    world.serve(broken(cancel).port)
    with pytest.raises(grpc.RpcError) as caught:
        await getattr(call_by(world), kind)(timeout=10)
    assert caught.value.code() is grpc.StatusCode.CANCELLED
    assert caught.value.mesh.flags == Cause.RESET.flags
    assert world.ended[-1].outcome.cause is Cause.RESET
    assert world.active == 0


@pytest.mark.parametrize(
    ("misdeed", "word"), [(hang_up, "reset"), (go_away, "reset"), (refuse, "refused-stream")]
)
async def test_a_policy_has_a_broken_call_sent_again(
    world, call_by, broken, start, echo, misdeed, word
):
    server = broken(misdeed)
    policy = RetryPolicy(retry_on=(word,), num_retries=5, previous_hosts=True, retry_back_off=SOON)
    world.serve(server.port, start(echo()), retry=policy)
    caller = call_by(world)
    assert [await caller.unary() for _ in range(4)] == [b"one:x"] * 4
    assert server.calls


async def test_an_endpoint_that_never_speaks_is_left_for_another(world, call_by, start, echo):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        world.serve(mute.getsockname()[1], start(echo()), connect_timeout=0.2)
        caller = call_by(world)
        assert [await caller.up() for _ in range(3)] == [b"one:ab"] * 3
        assert [await caller.unary() for _ in range(3)] == [b"one:x"] * 3
    assert world.active == 0


async def test_a_deadline_ends_the_wait_for_a_connection(world, call_by):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        world.serve(mute.getsockname()[1])
        for kind in ("up", "both"):
            with pytest.raises(grpc.RpcError) as caught:
                await getattr(call_by(world), kind)(timeout=0.05)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.sleep(0)
    assert world.active == 0
