"""A permissive port goes on to serve, whatever those do who have nothing to say."""

import asyncio
import contextlib
import errno
import socket
import tracemalloc

import pytest

from meshlib.middleware import _grpc_front, _tls_peek

FEW = 8


@pytest.fixture
def port_of(serve, reviews):
    async def make(kind):
        reviews.let_in(plaintext=True)
        return await serve(reviews, kind)

    return make


def connected(port, count, said=b""):
    found = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for one in found:
        one.sendall(said)
    return found


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(_tls_peek.Undecided.__init__, "__defaults__", (FEW,))


async def test_those_who_say_nothing_keep_nobody_out(
    few, kind, port_of, client, productpage, words
):
    port = await port_of(kind)
    with contextlib.ExitStack() as held:
        silent = [held.enter_context(one) for one in connected(port, 3 * FEW)]
        productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
        assert await client(productpage, kind).call() == words.PRODUCTPAGE
        oldest = silent[0]
        oldest.settimeout(5)
        assert await asyncio.to_thread(oldest.recv, 1) == b""


async def test_a_port_outlives_the_want_of_descriptors(
    port_of, client, productpage, words, monkeypatch
):
    failures = [OSError(errno.EMFILE, "too many open files"), ConnectionAbortedError()]
    accept = asyncio.SelectorEventLoop.sock_accept

    async def failing(self, listening):
        found = await accept(self, listening)
        if failures:
            found[0].close()
            raise failures.pop()
        return found

    monkeypatch.setattr(_grpc_front, "WHILE_FULL", 0.0)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_accept", failing)
    port = await port_of("grpc")
    for one in connected(port, 2):
        with one:
            one.settimeout(5)
            assert await asyncio.to_thread(one.recv, 1) == b""
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    assert await client(productpage, "grpc").call() == words.PRODUCTPAGE
    assert not failures


async def test_a_byte_does_not_hold_a_buffer(port_of, client, productpage, words):
    """Seen by what Python allocates: that is the front's, as gRPC core has memory of its own."""
    port = await port_of("grpc")
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    caller = client(productpage, "grpc")
    await caller.call()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        with contextlib.ExitStack() as held:
            for one in connected(port, 32, b"\x16"):
                held.enter_context(one)
            await caller.call()
            after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 32 * 64 * 1024
