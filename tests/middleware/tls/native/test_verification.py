"""Servers whose certificates have a SPIFFE id and no other name: gRPC core verifies them itself."""

import grpc
import grpc.aio
import pytest

from meshlib.model import Address, Exact, Prefix
from meshlib.model.security import (
    CertificateFiles,
    CertificateValidation,
    RootFile,
    SanMatcher,
    UpstreamTls,
)

SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
OTHER = "spiffe://other.org/ns/default/sa/reviews"


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_kind_of_call_reaches_a_server_with_a_uri_and_no_dns_name(
    library, shape, serve, ca, foreign, caller, played, words
):
    reviews = words.Member(foreign(ca, words.REVIEWS))
    reviews.let_in()
    port = await serve(reviews, library)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    heard = await played(caller, library, shape)
    assert set(heard) == {words.PRODUCTPAGE.encode()}


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_kind_of_call_says_a_byte_to_somebody_else(
    library, shape, serve, ca, foreign, caller, seen, played, words
):
    ratings = words.Member(foreign(ca, words.RATINGS))
    ratings.let_in()
    port = await serve(ratings, library)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    with pytest.raises(grpc.RpcError) as refused:
        await played(caller, library, shape)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert caller.causes == ["CONNECT"]
    assert seen.callers == []


async def test_nothing_of_how_it_was_picked_gets_to_the_server(
    library, stock, ca, caller, played, words
):
    port = stock(ca.svid(words.REVIEWS, dns=()), ca)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    [plain] = await played(caller, library)
    assert plain == b"user-agent"


@pytest.mark.parametrize(
    "ids",
    [
        ("spiffe://cluster.local/ns/default/sa/Reviews",),
        ("spiffe://cluster.local/ns/default/sa/reviews/v2",),
        ("spiffe://cluster.local/ns/default/sa/review",),
        ("spiffe://cluster.local/ns/default/sa/reviews", "spiffe://cluster.local/ns/x/sa/y"),
        ("spiffe://cluster.local/ns/x/sa/y", "spiffe://cluster.local/ns/default/sa/reviews"),
        (OTHER,),
        (),
    ],
)
async def test_an_id_is_that_very_id_and_the_only_one(
    library, ids, stock, ca, caller, client, words
):
    dns = () if ids else ("reviews",)
    caller.lead_to(stock(ca.svid(*ids, dns=dns), ca), tls=words.mutual(words.REVIEWS))
    assert "failed to connect" in await client(caller, library).error()
    assert caller.causes == ["CONNECT"]


async def test_other_roots_and_other_times_are_refused(
    library, stock, ca, foreign_ca, caller, client, words
):
    hour = ca.certificate.not_valid_after_utc - ca.certificate.not_valid_before_utc
    bad = (
        foreign_ca.svid(words.REVIEWS, dns=()),
        ca.svid(words.REVIEWS, dns=(), begins=-hour / 24, ends=-hour / 48),
        ca.svid(words.REVIEWS, dns=(), begins=hour / 48, ends=hour / 24),
        ca.svid(dns=("reviews",), subject=words.REVIEWS),
    )
    for svid in bad:
        caller.engine.renew()
        caller.lead_to(stock(svid, ca), tls=words.mutual(words.REVIEWS))
        assert "failed to connect" in await client(caller, library).error()


async def test_a_server_in_plain_text_hears_nothing(library, caller, client, words):
    listening = words.Listening()
    caller.lead_to(listening.port, tls=words.mutual(words.REVIEWS), connect_timeout=0.3)
    await client(caller, library).error()
    listening.close()
    assert b"secret" not in listening.heard
    assert b"PRI * HTTP/2" not in listening.heard


async def test_the_ca_of_one_trust_domain_vouches_for_no_id_of_another(
    library, stock, ca, foreign, joined, client, words
):
    """Both are believed, each of its own alone."""
    other = words.Ca("other.org")
    mine = foreign(ca, words.PRODUCTPAGE)
    both = words.replace(mine, bundles={**mine.bundles, "other.org": other.bundle})
    caller = joined(both)
    caller.lead_to(stock(other.svid(OTHER, dns=()), ca), tls=words.mutual(OTHER), spiffe_id=OTHER)
    assert await client(caller, library).call()
    for liar, said in ((other, words.REVIEWS), (ca, OTHER)):
        caller.engine.renew()
        port = stock(liar.svid(said, dns=()), ca)
        caller.lead_to(port, tls=words.mutual(said), spiffe_id=said)
        assert "failed to connect" in await client(caller, library).error()


async def test_a_federated_server_is_verified_so_by_a_member_of_our_own_ca(
    library, stock, ca, joined, client, words
):
    other = words.Ca("other.org")
    mine = ca.credentials(words.PRODUCTPAGE)
    assert mine.derived_names
    caller = joined(words.replace(mine, bundles={**mine.bundles, "other.org": other.bundle}))
    caller.lead_to(stock(other.svid(OTHER, dns=()), ca), tls=words.mutual(OTHER), spiffe_id=OTHER)
    assert await client(caller, library).call()


async def test_any_of_several_ids_may_answer_where_the_cluster_says_so(
    library, stock, ca, caller, client, words
):
    """As istiod says it: the service accounts of the service, and nothing at the endpoint."""
    tls = words.mutual(words.REVIEWS, words.RATINGS)
    caller.lead_to(stock(ca.svid(words.RATINGS, dns=()), ca), tls=tls, spiffe_id="")
    assert await client(caller, library).call()
    caller.engine.renew()
    caller.lead_to(stock(ca.svid(words.PRODUCTPAGE, dns=()), ca), tls=tls, spiffe_id="")
    assert "failed to connect" in await client(caller, library).error()


async def test_names_that_are_only_alike_are_no_ids_to_verify_by(library, caller, client, words):
    fuzzy = SanMatcher(match=Prefix("spiffe://cluster.local/ns/default/"))
    mutual = words.mutual()
    named = words.replace(mutual.validation, match_subject_alt_names=(fuzzy,))
    caller.lead_to(1, tls=words.replace(mutual, validation=named), spiffe_id="")
    assert "has to know the SPIFFE ids" in await client(caller, library).error()


async def test_a_revoked_id_is_not_called(library, stock, ca, foreign, joined, client, words):
    credentials = foreign(ca, words.PRODUCTPAGE)
    caller = joined(words.replace(credentials, revoked=frozenset({words.REVIEWS})))
    port = stock(ca.svid(words.REVIEWS, dns=()), ca)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    assert "is revoked" in await client(caller, library).error()


@pytest.fixture
def files(tmp_path):
    def write(ca, svid):
        for name, content in (
            ("chain.pem", svid.certificate_chain),
            ("key.pem", svid.private_key),
            ("roots.pem", ca.pem),
        ):
            (tmp_path / name).write_bytes(content)
            (tmp_path / name).chmod(0o600)
        shown = CertificateFiles(str(tmp_path / "chain.pem"), str(tmp_path / "key.pem"))
        return shown, RootFile(str(tmp_path / "roots.pem"))

    return write


async def test_what_a_cluster_has_in_files_serves_as_well(
    library, files, stock, ca, foreign_ca, joined, client, words
):
    """``DestinationRule`` with ``mode: MUTUAL``, and a SPIFFE id in ``subjectAltNames``."""
    shown, roots = files(ca, ca.svid(words.PRODUCTPAGE, dns=()))
    wanted = (SanMatcher(match=Exact(words.REVIEWS)),)
    validation = CertificateValidation(roots=roots, match_subject_alt_names=wanted)
    bare = joined(None)
    for issuer, goes in ((ca, True), (foreign_ca, False)):
        bare.engine.renew()
        port = stock(issuer.svid(words.REVIEWS, dns=()), ca)
        bare.lead_to(port, tls=UpstreamTls(validation=validation, certificate=shown))
        calling = client(bare, library)
        assert await calling.call() if goes else await calling.error()


async def test_a_caller_without_a_certificate_still_verifies(
    library, files, stock, ca, joined, client, words
):
    _, roots = files(ca, ca.svid(words.PRODUCTPAGE, dns=()))
    wanted = (SanMatcher(match=Exact(words.REVIEWS)),)
    one_sided = UpstreamTls(
        validation=CertificateValidation(roots=roots, match_subject_alt_names=wanted)
    )
    bare = joined(None)
    bare.lead_to(stock(ca.svid(words.REVIEWS, dns=())), tls=one_sided)
    assert await client(bare, library).call()
    bare.engine.renew()
    bare.lead_to(stock(ca.svid(words.RATINGS, dns=())), tls=one_sided)
    assert "failed to connect" in await client(bare, library).error()


async def test_the_server_hears_the_name_that_was_called(library, stock, ca, caller, played, words):
    """With its port, which a channel that compares DNS names cannot say."""
    port = stock(ca.svid(words.REVIEWS, dns=()), ca)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    await played(caller, library)
    assert stock.asked == [words.HOST]


async def test_an_endpoint_that_has_a_name_is_resolved_and_verified_alike(
    stock, ca, foreign, caller, words
):
    port = stock(ca.svid(words.REVIEWS, dns=()), ca)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    [endpoint] = caller.engine.clusters["reviews"].balance.endpoints.values()
    security = caller.runtime.security.upstream
    for wanted, goes in ((words.REVIEWS, True), (words.RATINGS, False)):
        transport = words.replace(
            security.wanted_for(endpoint), tls=words.mutual(wanted), spiffe_id=wanted
        )
        dial = security.dial(transport, words.HOST)
        target = dial.target(Address("localhost", port))
        async with grpc.aio.secure_channel(target, dial.credentials, dial.options) as channel:
            call = channel.unary_unary("/test.Echo/Say")(b"", timeout=20)
            if goes:
                assert await call
            else:
                with pytest.raises(grpc.aio.AioRpcError, match="did not match SANs"):
                    await call
