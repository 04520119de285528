"""A member's source of certificates, at a CA that does this and that (real sockets)."""

import asyncio
import logging
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest

from meshlib.identity.authority import Authority
from meshlib.identity.ca_messages import (
    CERTIFICATES,
    TRUST,
    Trust,
    decode_request,
    encode_chain,
    encode_trust,
)
from meshlib.identity.client import CaAddress, CaSource
from meshlib.identity.credentials import Bundle, IdentityError
from meshlib.identity.csr import parse_csr
from meshlib.identity.names import derived_name
from meshlib.identity.pinning import _chain, pinned_root
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore

REVIEWS = SpiffeId.parse("spiffe://cluster.local/ns/default/sa/reviews")


class Istiod:
    """Knows how to make certificates, and nothing else. ``spoil`` what it answers."""

    def __init__(self, path):
        self.authority = Authority.create(MemoryStore(), TrustDomain("cluster.local"), time.time())
        self.target = f"unix:{path}"
        self.ttl = 3600.0
        self.spoil = lambda chain: chain
        self.asked = 0
        self.asks = asyncio.Queue()
        self.held = None

    async def create(self, message, _call):
        self.asked += 1
        self.asks.put_nowait(self.asked)
        if self.held is not None and self.asked > 1:
            await self.held.wait()
        key = parse_csr(decode_request(message).csr).public_key
        issued = self.authority.sign(key, REVIEWS, time.time(), self.ttl)
        chain = (issued.certificate_chain, self.authority.bundle().pem.rstrip())
        return encode_chain(self.spoil(chain))


class Telling(Istiod):
    """Tells whom to believe, too: ``tell`` it what, in bytes."""

    def __init__(self, path):
        super().__init__(path)
        self.tell = asyncio.Queue()
        self.heard = asyncio.Queue()

    async def trust(self, messages, call):
        async def hear():
            async for message in messages:
                self.heard.put_nowait(message)

        hearing = asyncio.create_task(hear())
        try:
            while True:
                await call.write(await self.tell.get())
        finally:
            hearing.cancel()


@asynccontextmanager
async def serving(made):
    server = grpc.aio.server()
    create = grpc.unary_unary_rpc_method_handler(made.create)
    handlers = [grpc.method_handlers_generic_handler(CERTIFICATES, {"CreateCertificate": create})]
    if isinstance(made, Telling):
        trust = grpc.stream_stream_rpc_method_handler(made.trust)
        handlers.append(grpc.method_handlers_generic_handler(TRUST, {"StreamTrust": trust}))
    server.add_generic_rpc_handlers(handlers)
    server.add_insecure_port(made.target)
    await server.start()
    try:
        yield made
    finally:
        await server.stop(0)


@pytest.fixture
async def istiod(tmp_path):
    async with serving(Istiod(tmp_path / "s")) as made:
        yield made


@pytest.fixture
async def telling(tmp_path):
    async with serving(Telling(tmp_path / "s")) as made:
        yield made


@asynccontextmanager
async def source_of(target, monotonic=time.monotonic, **fields):
    """The source, and a queue of what it says."""
    loop, said = asyncio.get_running_loop(), asyncio.Queue()
    address = CaAddress(target=target, spiffe_id=str(REVIEWS), **fields)
    made = CaSource(address, wall=time.time, monotonic=monotonic, dice=lambda: 0.5)
    forget = made.watch(lambda found: loop.call_soon_threadsafe(said.put_nowait, found))
    made.start()
    made.start()  # a second time does nothing
    try:
        yield made, said
    finally:
        forget()
        await asyncio.to_thread(made.close)


async def failing(caplog, text):
    deadline = time.monotonic() + 10
    while text not in caplog.text:
        assert time.monotonic() < deadline, caplog.text
        await asyncio.sleep(0.01)


async def test_a_ca_that_only_makes_certificates_is_enough(istiod):
    async with source_of(istiod.target) as (source, said):
        found = await asyncio.wait_for(said.get(), 10)
        assert found.svid.spiffe_id == str(REVIEWS)
        assert found.bundles["cluster.local"].roots == istiod.authority.bundle().roots
        assert source.status()["error"] == ""


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda chain: chain[:1], "left out its root"),
        (lambda chain: (b"nonsense", chain[1]), "not a certificate"),
        (lambda chain: (chain[0], b"nonsense"), "no root"),
    ],
)
async def test_a_chain_that_does_not_fit_together_is_not_taken(istiod, caplog, spoil, said):
    istiod.spoil = spoil
    async with source_of(istiod.target) as (source, _):
        await failing(caplog, f"the CA at {istiod.target}: ")
        assert source.current() is None
        assert said in source.status()["error"]


async def test_a_ca_that_cannot_be_reached_is_asked_again_and_said_to_be_so(tmp_path, caplog):
    async with source_of(f"unix:{tmp_path}/nobody") as (source, _):
        await failing(caplog, "UNAVAILABLE")
        assert source.current() is None
        assert source.status()["error"].startswith("UNAVAILABLE")


async def test_what_there_is_serves_on_while_the_ca_fails_and_its_end_is_cried_out(istiod, caplog):
    istiod.ttl = 3.0
    async with source_of(istiod.target) as (source, said):
        first = await asyncio.wait_for(said.get(), 10)
        istiod.spoil = lambda chain: chain[:1]
        with caplog.at_level(logging.WARNING):
            await failing(caplog, "left out its root")
            assert source.current().svid is first.svid
            await failing(caplog, "the certificate has")


async def test_a_closed_source_begins_anew_with_what_it_had(istiod):
    loop, looked = asyncio.get_running_loop(), asyncio.Semaphore(0)

    def monotonic():
        loop.call_soon_threadsafe(looked.release)
        return time.monotonic()

    async with source_of(istiod.target, monotonic) as (source, said):
        first = await asyncio.wait_for(said.get(), 10)
        await asyncio.to_thread(source.close)
        while not looked.locked():
            await looked.acquire()
        source.start()
        for _ in range(3):  # as it begins; whether it is time; and how long it is until then
            await asyncio.wait_for(looked.acquire(), 10)
        assert source.current() is first
    assert istiod.asked == 1


async def test_a_root_cannot_be_pinned_where_nobody_shows_one():
    with pytest.raises(IdentityError, match="does not show its root"):
        await asyncio.to_thread(pinned_root, "127.0.0.1:1", "0" * 64)


async def test_certificates_of_a_ca_that_tells_no_trust_bring_its_roots_each_time(istiod):
    istiod.ttl = 2.0
    async with source_of(istiod.target) as (_, said):
        first = await asyncio.wait_for(said.get(), 10)
        second = await asyncio.wait_for(said.get(), 10)
        assert second.svid.certificate_chain != first.svid.certificate_chain
        assert second.bundles == first.bundles


async def test_a_ca_may_show_itself_under_another_name(tmp_path):
    made = Istiod(tmp_path / "s")
    own = made.authority.issue(REVIEWS, time.time())
    credentials = grpc.ssl_server_credentials([(own.private_key, own.certificate_chain)])
    server = grpc.aio.server()
    create = grpc.unary_unary_rpc_method_handler(made.create)
    handler = grpc.method_handlers_generic_handler(CERTIFICATES, {"CreateCertificate": create})
    server.add_generic_rpc_handlers((handler,))
    target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    roots, name = made.authority.bundle().pem, derived_name(str(REVIEWS))
    async with source_of(target, roots=lambda: roots, server_name=name) as (_, said):
        assert (await asyncio.wait_for(said.get(), 10)).svid.spiffe_id == str(REVIEWS)
    await server.stop(0)


async def test_what_says_nothing_of_trust_changes_nothing_and_is_asked_for_again(telling, caplog):
    async with source_of(telling.target) as (source, said):
        first = await asyncio.wait_for(said.get(), 10)
        telling.tell.put_nowait(b"\xff\xff")
        await failing(caplog, f"the CA at {telling.target}: ")
        bundle = replace(telling.authority.bundle(), sequence=7)
        telling.tell.put_nowait(
            encode_trust(Trust(Bundle(trust_domain="cluster.local", roots=(), sequence=6)))
        )
        telling.tell.put_nowait(encode_trust(Trust(bundle, frozenset({"anybody"}))))
        found = await asyncio.wait_for(said.get(), 10)
        assert (found.svid, found.revoked) == (first.svid, {"anybody"})
        assert source.current().bundles["cluster.local"].sequence == 7


async def test_trust_that_changes_while_a_certificate_is_asked_for_has_it_asked_for_again(telling):
    """The answer may be of the issuer that is believed no more."""
    telling.held = asyncio.Event()
    other = Authority.create(MemoryStore(), TrustDomain("cluster.local"), time.time())
    async with source_of(telling.target) as (source, said):
        await asyncio.wait_for(said.get(), 10)
        assert await asyncio.wait_for(telling.asks.get(), 10) == 1
        for sequence in (7, 8):
            bundle = replace(other.bundle(), sequence=sequence)
            telling.tell.put_nowait(encode_trust(Trust(bundle)))
            await asyncio.wait_for(telling.heard.get(), 10)
            if sequence == 7:
                assert await asyncio.wait_for(telling.asks.get(), 10) == 2
        telling.held.set()
        assert await asyncio.wait_for(telling.asks.get(), 10) == 3
        assert source.current().svid is not None


async def test_of_a_ca_that_fails_at_the_end_nobody_hears():
    """Who closes the source does not wait for whoever is to be asked."""
    closed = threading.Event()

    def close():
        made.close()
        closed.set()

    def token():
        closing = threading.Thread(target=close)
        closing.start()
        closing.join(0.2)  # it waits for this very thread, once it has said that this is the end
        raise IdentityError("no token here")

    address = CaAddress(target="127.0.0.1:1", token=token)
    made = CaSource(address, wall=time.time, monotonic=time.monotonic, dice=lambda: 0.5)
    before = made.status()["error"]
    made.start()
    assert await asyncio.to_thread(closed.wait, 10)
    assert made.status()["error"] == before


def test_the_chain_that_a_peer_shows_is_read_as_newer_python_has_it():
    class Secured:
        def get_unverified_chain(self):
            return [b"leaf", b"root"]

    assert _chain(Secured()) == [b"leaf", b"root"]
