"""A member's source of certificates, at a CA that does this and that (real sockets)."""

import asyncio
import logging
import time
from contextlib import asynccontextmanager

import grpc
import pytest

from meshlib.identity.authority import Authority
from meshlib.identity.ca_messages import CERTIFICATES, decode_request, encode_chain
from meshlib.identity.client import CaAddress, CaSource
from meshlib.identity.credentials import IdentityError
from meshlib.identity.csr import parse_csr
from meshlib.identity.pinning import pinned_root
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

    async def create(self, message, _call):
        self.asked += 1
        key = parse_csr(decode_request(message).csr).public_key
        issued = self.authority.sign(key, REVIEWS, time.time(), self.ttl)
        chain = (issued.certificate_chain, self.authority.bundle().pem.rstrip())
        return encode_chain(self.spoil(chain))


@pytest.fixture
async def istiod(tmp_path):
    made = Istiod(tmp_path / "s")
    server = grpc.aio.server()
    create = grpc.unary_unary_rpc_method_handler(made.create)
    handler = grpc.method_handlers_generic_handler(CERTIFICATES, {"CreateCertificate": create})
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(made.target)
    await server.start()
    yield made
    await server.stop(0)


@asynccontextmanager
async def source_of(target):
    """The source, and a queue of what it says."""
    loop, said = asyncio.get_running_loop(), asyncio.Queue()
    address = CaAddress(target=target, spiffe_id=str(REVIEWS))
    made = CaSource(address, wall=time.time, monotonic=time.monotonic, dice=lambda: 0.5)
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
    async with source_of(istiod.target) as (source, said):
        first = await asyncio.wait_for(said.get(), 10)
        await asyncio.to_thread(source.close)
        source.start()
        assert source.current() is first
    assert istiod.asked == 1


async def test_a_root_cannot_be_pinned_where_nobody_shows_one():
    with pytest.raises(IdentityError, match="does not show its root"):
        await asyncio.to_thread(pinned_root, "127.0.0.1:1", "0" * 64)
