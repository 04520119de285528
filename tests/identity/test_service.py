"""The CA as a service, over real sockets: who is given a certificate, and who is not."""

import asyncio
import logging
import threading
import time
from dataclasses import replace

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.identity.authenticators import (
    ID_METADATA,
    Asking,
    ByCertificate,
    ByJoinToken,
    ByServiceAccount,
    ByUser,
    Caller,
    UnauthenticatedError,
)
from meshlib.identity.authority import Authority
from meshlib.identity.ca_messages import (
    CertificateRequest,
    decode_chain,
    decode_trust,
    encode_request,
)
from meshlib.identity.client import METHOD, STREAM, signing_request
from meshlib.identity.credentials import IdentityError
from meshlib.identity.keys import new_key
from meshlib.identity.leaf import check_leaf
from meshlib.identity.service import BURST, REMEMBERED, CaService, Rates, metadata_of
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore
from meshlib.identity.tokens import JoinTokens

REVIEWS = SpiffeId.parse("spiffe://cluster.local/ns/default/sa/reviews")
RATINGS = SpiffeId.parse("spiffe://cluster.local/ns/default/sa/ratings")


class Ca:
    """A CA behind a plain port of its own, whose callers are whom the test says."""

    def __init__(self):
        self.store = MemoryStore()
        self.authority = Authority.create(self.store, TrustDomain("cluster.local"), time.time())
        self.tokens = JoinTokens(self.store)
        self.caller = Caller("10.0.0.1", secure=True)
        known = [ByCertificate(), ByJoinToken(self.tokens, time.time)]
        self.service = CaService(
            self.authority, known, lambda _: self.caller, wall=time.time, clock=time.monotonic
        )
        self.target = ""

    def token(self, spiffe_id=REVIEWS):
        return self.tokens.create(spiffe_id, time.time())

    def member(self, spiffe_id):
        svid = self.authority.issue(spiffe_id, time.time())
        leaf = check_leaf(svid.certificate_chain, self.authority.credentials(), time.time())
        return Caller("10.0.0.1", leaf, secure=True)

    async def ask(self, csr=None, *, token="", validity=0.0):
        request = encode_request(CertificateRequest(csr or signing_request(new_key()), validity))
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        async with grpc.aio.insecure_channel(self.target) as channel:
            answer = await channel.unary_unary(METHOD)(request, metadata=metadata)
        return decode_chain(answer)

    async def refusal(self, *arguments, **named):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.ask(*arguments, **named)
        return refused.value.code(), refused.value.details()


@pytest.fixture
async def ca():
    made = Ca()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(made.service.handlers)
    made.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    made.service.start()
    yield made
    await made.service.close()
    await server.stop(0)


def uris(chain):
    leaf = x509.load_pem_x509_certificate(chain[0])
    sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sans.get_values_for_type(x509.UniformResourceIdentifier)


def csr(*, key=None, uri="", extra=None, digest=None):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if uri:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=False)
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    return builder.sign(key or new_key(), digest or SHA256()).public_bytes(Encoding.PEM)


async def test_a_join_token_is_worth_one_certificate_for_its_id(ca):
    token = ca.token()
    assert uris(await ca.ask(token=token)) == [str(REVIEWS)]
    code, said = await ca.refusal(token=token)
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert token not in said


async def test_who_a_signing_request_says_to_be_counts_for_nothing(ca):
    """Identity comes from the authenticated caller, never from the CSR."""
    assert uris(await ca.ask(csr(uri=str(RATINGS)), token=ca.token())) == [str(REVIEWS)]


async def test_a_living_certificate_is_renewed_for_the_same_id_only(ca):
    ca.caller = ca.member(RATINGS)
    chain = await ca.ask(csr(uri=str(REVIEWS)), token=ca.token(REVIEWS))
    assert uris(chain) == [str(RATINGS)]


async def test_nobody_is_given_a_certificate_without_proof(ca):
    code, said = await ca.refusal()
    assert (code, "join-token" in said) == (grpc.StatusCode.UNAUTHENTICATED, True)


async def test_a_join_token_that_came_in_plain_text_is_worth_nothing_and_not_used_up(ca):
    token, ca.caller = ca.token(), Caller("10.0.0.1")
    assert (await ca.refusal(token=token))[0] is grpc.StatusCode.UNAUTHENTICATED
    ca.caller = Caller("10.0.0.1", secure=True)
    assert uris(await ca.ask(token=token)) == [str(REVIEWS)]


async def test_a_certificate_that_is_believed_no_more_is_not_renewed(ca):
    ca.caller = Caller("10.0.0.1", refusal="the certificate is revoked", secure=True)
    code, said = await ca.refusal(token=ca.token())
    assert (code, "revoked" in said) == (grpc.StatusCode.UNAUTHENTICATED, True)


async def test_a_certificate_is_revoked_with_those_that_it_was_renewed_by(ca):
    ca.caller = ca.member(REVIEWS)
    (leaf, *_) = await ca.ask()
    renewed = f"{x509.load_pem_x509_certificate(leaf).serial_number:x}"
    done = ca.authority.revoke(ca.caller.leaf.serial, time.time())
    assert (done.owner, done.more) == (str(REVIEWS), (renewed,))


async def test_a_certificate_by_a_join_token_renews_none(ca):
    (leaf, *_) = await ca.ask(token=ca.token())
    serial = f"{x509.load_pem_x509_certificate(leaf).serial_number:x}"
    done = ca.authority.revoke(serial, time.time())
    assert (done.owner, done.more) == (str(REVIEWS), ())


async def test_a_revoked_id_is_given_no_new_certificate(ca):
    ca.caller = ca.member(REVIEWS)
    ca.authority.revoke(str(REVIEWS), time.time())
    assert (await ca.refusal())[0] is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"nonsense",
        csr(extra=x509.BasicConstraints(ca=True, path_length=None)),
        csr(extra=x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING])),
        csr(key=ec.generate_private_key(ec.SECP192R1())),
    ],
    ids=["nothing", "nonsense", "a CA", "another purpose", "a weak key"],
)
async def test_a_signing_request_that_asks_for_too_much_is_refused(ca, bad):
    ca.caller = ca.member(REVIEWS)
    request = encode_request(CertificateRequest(bad))
    async with grpc.aio.insecure_channel(ca.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(METHOD)(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_certificate_lives_for_a_day_at_most(ca):
    ca.caller = ca.member(REVIEWS)
    assert (await ca.refusal(validity=86401.0))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert (await ca.refusal(validity=-1.0))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert uris(await ca.ask(validity=86400.0)) == [str(REVIEWS)]


async def test_bytes_that_are_no_request_are_refused(ca):
    ca.caller = ca.member(REVIEWS)
    async with grpc.aio.insecure_channel(ca.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(METHOD)(b"\xff\xff")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_who_asks_without_end_is_put_off(ca):
    found = {(await ca.refusal())[0] for _ in range(BURST + 1)}
    assert found == {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_requests_are_counted_for_each_who_asks_and_come_back_with_time():
    now = [0.0]
    rates = Rates(lambda: now[0], burst=2, every=1.0)
    assert [rates.take("a") for _ in range(3)] == [True, True, False]
    assert rates.take("b")
    now[0] = 1.0
    assert [rates.take("a") for _ in range(2)] == [True, False]


def test_who_asked_long_ago_is_forgotten():
    rates = Rates(lambda: 0.0, burst=1, every=1.0)
    assert [rates.take("a") for _ in range(2)] == [True, False]
    for number in range(REMEMBERED):
        rates.take(str(number))
    assert rates.take("a")


def test_metadata_that_comes_twice_or_is_binary_says_nothing():
    class Call:
        def invocation_metadata(self):
            return (("a", "1"), ("b", "2"), ("b", "3"), ("c-bin", b"4"))

    assert metadata_of(Call()) == {"a": "1"}


async def test_a_service_that_never_began_may_be_closed():
    await Ca().service.close()


async def test_a_ca_that_cannot_sign_for_now_says_so(ca, monkeypatch):
    def sign(*_):
        raise IdentityError("the issuer has expired")

    monkeypatch.setattr(ca.authority, "sign", sign)
    code, said = await ca.refusal(token=ca.token())
    assert (code, said) == (grpc.StatusCode.UNAVAILABLE, "the issuer has expired")


async def test_a_ca_that_cannot_go_on_says_so_and_serves(ca, monkeypatch, caplog):
    failed = threading.Event()

    def advance(*_):
        if "the disk is full" in caplog.text:
            failed.set()
        raise OSError("the disk is full")

    monkeypatch.setattr(ca.authority, "advance", advance)
    assert await asyncio.to_thread(failed.wait, 10)
    assert uris(await ca.ask(token=ca.token())) == [str(REVIEWS)]


async def test_what_a_member_knows_already_it_is_not_told_again(ca, monkeypatch):
    """It began to listen after the change, and before the service noticed."""
    revoked, listening = threading.Event(), threading.Event()

    def advance(*_):
        if not revoked.is_set():
            ca.authority.revoke(str(REVIEWS), time.time())
            revoked.set()
        listening.wait(10)

    monkeypatch.setattr(ca.authority, "advance", advance)
    assert await asyncio.to_thread(revoked.wait, 10)
    ca.caller = ca.member(RATINGS)
    async with grpc.aio.insecure_channel(ca.target) as channel:
        call = channel.stream_stream(STREAM)()
        assert decode_trust(await call.read()).revoked == {str(REVIEWS)}
        noticed = asyncio.Event()
        ca.service.watch(noticed.set)
        listening.set()
        async with asyncio.timeout(10):
            await noticed.wait()
        assert uris(await ca.ask()) == [str(RATINGS)]  # by now it would have been told
        ca.authority.revoke(str(RATINGS), time.time())
        assert decode_trust(await call.read()).revoked == {str(REVIEWS), str(RATINGS)}
        call.cancel()


async def test_the_log_tells_who_was_given_what_and_no_secret(ca, caplog):
    token = ca.token()
    with caplog.at_level(logging.INFO, logger="meshlib.ca"):
        await ca.ask(token=token)
        await ca.refusal(token=token)
    assert f"issued {REVIEWS}" in caplog.text
    assert "refused to 10.0.0.1" in caplog.text
    assert token not in caplog.text


async def test_the_last_of_the_chain_are_the_roots_as_istio_has_it(ca):
    chain = await ca.ask(token=ca.token())
    assert chain[-1] == ca.authority.bundle().pem


async def test_roots_and_denials_are_told_to_members_within_a_second(ca):
    ca.caller = ca.member(RATINGS)
    async with grpc.aio.insecure_channel(ca.target) as channel:
        call = channel.stream_stream(STREAM)()
        assert decode_trust(await call.read()).revoked == frozenset()
        ca.authority.revoke(str(REVIEWS), time.time())
        async with asyncio.timeout(1.0):
            assert decode_trust(await call.read()).revoked == {str(REVIEWS)}
        call.cancel()


async def test_who_knows_all_there_is_is_not_told_it_again(ca):
    ca.caller = ca.member(RATINGS)
    async with grpc.aio.insecure_channel(ca.target) as channel:
        call = channel.stream_stream(STREAM)()
        assert decode_trust(await call.read()).revoked == frozenset()
        ca.service._wake()
        assert uris(await ca.ask()) == [str(RATINGS)]  # by now it would have been told
        ca.authority.revoke(str(REVIEWS), time.time())
        assert decode_trust(await call.read()).revoked == {str(REVIEWS)}
        call.cancel()


async def test_strangers_are_not_told_who_is_revoked(ca):
    async with grpc.aio.insecure_channel(ca.target) as channel:
        call = channel.stream_stream(STREAM)()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_nobody_is_told_for_longer_than_the_certificate_lives(ca):
    member = ca.member(RATINGS)
    ca.caller = replace(member, leaf=replace(member.leaf, not_after=time.time() + 0.2))
    async with grpc.aio.insecure_channel(ca.target) as channel:
        call = channel.stream_stream(STREAM)()
        await call.read()
        assert await call.read() is grpc.aio.EOF


async def test_a_token_of_a_service_account_is_what_the_cluster_says_it_is():
    class Cluster:
        async def review(self, token):
            if token != "a.b.c":
                raise UnauthenticatedError("refused")
            return "bookinfo", "reviews"

    known = ByServiceAccount(Cluster(), TrustDomain("cluster.local"))
    caller = Caller("10.0.0.1", secure=True)
    found = await known.identify(Asking(caller, {"authorization": "Bearer a.b.c"}))
    assert str(found) == "spiffe://cluster.local/ns/bookinfo/sa/reviews"
    assert await known.identify(Asking(caller, {"authorization": "Bearer joined"})) is None
    with pytest.raises(UnauthenticatedError):
        await known.identify(Asking(caller, {"authorization": "Bearer x.y.z"}))
    with pytest.raises(UnauthenticatedError):
        await known.identify(Asking(Caller("10.0.0.1"), {"authorization": "Bearer a.b.c"}))


async def test_a_user_whom_the_kernel_names_may_be_anybody_others_nobody():
    known = ByUser(frozenset({1000}))
    metadata = {ID_METADATA: str(REVIEWS)}
    assert await known.identify(Asking(Caller("unix", uid=1000), metadata)) == REVIEWS
    assert await known.identify(Asking(Caller("10.0.0.1", secure=True), metadata)) is None
    for uid, said in ((1001, metadata), (1000, {})):
        with pytest.raises(UnauthenticatedError):
            await known.identify(Asking(Caller("unix", uid=uid), said))
