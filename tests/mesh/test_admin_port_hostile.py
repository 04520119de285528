"""Clients of the admin port who mean harm."""

import socket
import threading
import time
import urllib.request
from contextlib import ExitStack

import pytest

from meshlib.mesh import admin_port
from meshlib.mesh.admin_port import AdminPort


@pytest.fixture
def port():
    made = AdminPort(
        "127.0.0.1:0", "", metrics=lambda content_type: "metrics\n", unready=lambda: ""
    )
    made.start()
    yield made
    made.close()


@pytest.fixture
def showing():
    """A port that shows what a generator makes."""
    opened = []

    def start(make):
        port = AdminPort("127.0.0.1:0", "", metrics=lambda _: make(port), unready=lambda: "")
        port.start()
        opened.append(port)
        return port

    yield start
    for port in opened:
        port.close()


def later(port):
    """As if all the patience there is had passed."""
    port._server.cut_off(time.monotonic() + 2 * admin_port.PATIENCE)


def connected(port):
    host, _, number = port.address.rpartition(":")
    return socket.create_connection((host, int(number)), timeout=10)


def health_of(port):
    with urllib.request.urlopen(f"http://{port.address}/healthz", timeout=10) as answer:
        return answer.read()


def test_clients_that_say_nothing_have_no_more_threads_than_there_may_be(port, monkeypatch):
    monkeypatch.setattr(admin_port, "MOST", 3)
    with ExitStack() as held:
        for _ in range(3):
            slow = held.enter_context(connected(port))
            slow.sendall(b"GET /metr")
        with connected(port) as further:
            assert further.recv(1) == b""


def test_whoever_says_a_little_now_and_then_is_cut_off(port, monkeypatch):
    monkeypatch.setattr(admin_port, "PATIENCE", 0.3)
    with connected(port) as slow:
        slow.settimeout(0.05)
        while True:
            try:
                slow.sendall(b"G")
                if slow.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert health_of(port) == b"ok\n"


def test_a_client_that_waits_keeps_no_port_from_closing(port):
    with connected(port) as slow:
        slow.sendall(b"GET /metr")
        assert health_of(port) == b"ok\n"
        port.close()
        assert slow.recv(1) == b""


def test_what_takes_long_to_make_is_not_the_fault_of_who_reads_it(showing):
    def slowly(port):
        for number in range(3):
            later(port)
            yield f"{number}" * admin_port.LARGE

    with urllib.request.urlopen(f"http://{showing(slowly).address}/metrics", timeout=10) as answer:
        assert len(answer.read()) == 3 * admin_port.LARGE


def test_whoever_does_not_read_is_cut_off(showing):
    over = threading.Event()

    def endless(port):
        try:
            while True:
                yield "x" * admin_port.LARGE
        finally:
            over.set()

    port = showing(endless)
    with connected(port) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert slow.recv(1) == b"H"
        while not over.wait(0.01):
            later(port)


@pytest.mark.parametrize(
    "said",
    [
        b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_decent_request_reads_nothing(port, said):
    with connected(port) as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        told = b""
        try:
            while part := client.recv(65536):
                told += part
        except ConnectionError:
            pass
    assert b"metrics\n" not in told.replace(b"there are /metrics", b"")
    assert health_of(port) == b"ok\n"
