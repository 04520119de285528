"""Members of a mesh know each other, and let nobody else in: by each of the three libraries."""

import datetime as dt

import pytest

from meshlib.errors import MeshError


async def test_both_sides_are_known_to_each_other(
    kind, serve, client, reviews, productpage, words, seen
):
    port = await serve(reviews, kind)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    caller = client(productpage, kind)
    for _ in range(3):
        assert await caller.call() == words.PRODUCTPAGE
    assert seen.callers == [words.PRODUCTPAGE] * 3


async def test_the_names_of_the_cluster_will_do_where_the_endpoint_says_none(
    kind, serve, client, reviews, productpage, words
):
    port = await serve(reviews, kind)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS), spiffe_id="")
    assert await client(productpage, kind).call() == words.PRODUCTPAGE


BAD = {
    "wrong identity": lambda ca, foreign, w: ca.svid(w.RATINGS),
    "foreign CA": lambda ca, foreign, w: foreign.svid(w.REVIEWS),
    "expired": lambda ca, foreign, w: ca.svid(
        w.REVIEWS, begins=dt.timedelta(hours=-2), ends=dt.timedelta(minutes=-1)
    ),
    "not valid yet": lambda ca, foreign, w: ca.svid(w.REVIEWS, begins=dt.timedelta(minutes=30)),
    "only a name": lambda ca, foreign, w: ca.svid(dns=("reviews", "reviews:9080", "127.0.0.1")),
}
TWISTED = {
    "two ids": lambda ca, foreign, w: ca.svid(w.REVIEWS, w.RATINGS),
    "two ids, the other first": lambda ca, foreign, w: ca.svid(w.RATINGS, w.REVIEWS),
    "a CA as a leaf": lambda ca, foreign, w: ca.svid(w.REVIEWS, ca=True),
    "the id in another case": lambda ca, foreign, w: ca.svid(w.REVIEWS.replace("ns", "NS")),
    "the id in a DNS name": lambda ca, foreign, w: ca.svid(
        w.RATINGS, dns=("spiffe.cluster.local",)
    ),
    "the id in the subject": lambda ca, foreign, w: ca.svid(w.RATINGS, subject=w.REVIEWS[:60]),
}
WELL_PROVEN = {
    "wrong identity",
    "the id in another case",
    "the id in a DNS name",
    "the id in the subject",
}
"""Those of somebody, though not of who is called."""


@pytest.mark.parametrize("bad", BAD)
async def test_a_server_that_is_another_hears_not_a_byte(
    kind, bad, serve, client, ca, foreign_ca, productpage, words, seen
):
    svid = BAD[bad](ca, foreign_ca, words)
    server = words.Member(words.believing(ca, foreign_ca, svid=svid))
    server.let_in(tls=words.MUTUAL)
    port = await serve(server, kind)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    await client(productpage, kind).error()
    assert productpage.causes == ["CONNECT"]
    assert seen.callers == []
    assert server.ended == []


@pytest.mark.parametrize("bad", TWISTED)
async def test_aiohttp_takes_no_twisted_certificate_of_a_server(
    bad, serve, client, ca, foreign_ca, productpage, words, seen
):
    svid = TWISTED[bad](ca, foreign_ca, words)
    server = words.Member(words.believing(ca, svid=svid))
    server.let_in()
    port = await serve(server, "aiohttp")
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    await client(productpage, "aiohttp").error()
    assert productpage.causes == ["CONNECT"]
    assert (seen.callers, server.ended) == ([], [])


@pytest.mark.parametrize("bad", [bad for bad in (*BAD, *TWISTED) if bad not in WELL_PROVEN])
async def test_a_client_that_proves_nothing_never_reaches_the_handler(
    kind, bad, serve, client, ca, foreign_ca, reviews, words, seen
):
    svid = BAD.get(bad, TWISTED.get(bad))(ca, foreign_ca, words)
    port = await serve(reviews, kind)
    stranger = words.Member(words.believing(ca, svid=svid))
    stranger.lead_to(port, tls=words.mutual(words.REVIEWS))
    await client(stranger, kind).error()
    assert seen.callers == []


async def test_a_client_without_a_certificate_is_not_let_in(
    kind, serve, client, ca, reviews, words, seen
):
    port = await serve(reviews, kind)
    stranger = words.Member(words.believing(ca))
    tls = words.replace(words.mutual(words.REVIEWS), certificate=None)
    stranger.lead_to(port, tls=tls)
    await client(stranger, kind).error()
    assert seen.callers == []


async def test_a_client_in_plain_text_is_not_let_in(kind, serve, client, reviews, words, seen):
    port = await serve(reviews, kind)
    stranger = words.Member()
    stranger.lead_to(port, tls=None)
    await client(stranger, kind).error()
    assert seen.callers == []


async def test_who_names_nobody_to_expect_does_not_connect(kind, client, productpage, words):
    listening = words.Listening()
    productpage.lead_to(listening.port, tls=words.mutual(), spiffe_id="")
    assert "nothing says who has to answer" in await client(productpage, kind).error()
    listening.close()
    assert listening.heard == b""
    assert productpage.causes == ["CONNECT"]


async def test_an_endpoint_whom_the_cluster_rules_out_is_not_called(
    kind, client, productpage, words
):
    listening = words.Listening()
    productpage.lead_to(listening.port, tls=words.mutual(words.REVIEWS), spiffe_id=words.RATINGS)
    assert "whom the cluster rules out" in await client(productpage, kind).error()
    listening.close()
    assert listening.heard == b""


async def test_who_has_no_certificate_never_falls_back_to_plain_text(kind, client, words):
    listening = words.Listening()
    bare = words.Member()
    bare.lead_to(listening.port, tls=words.mutual(words.REVIEWS))
    assert "it has no CA" in await client(bare, kind).error()
    listening.close()
    assert listening.heard == b""
    assert bare.causes == ["CONNECT"]


async def test_a_listener_that_wants_tls_lets_nobody_in_without_credentials(
    kind, serve, client, words, seen
):
    bare = words.Member()
    bare.let_in()
    if kind != "aiohttp":
        with pytest.raises(MeshError, match="it has no CA"):
            await serve(bare, kind)
        return
    port = await serve(bare, kind)
    caller = words.Member()
    caller.lead_to(port, tls=None)
    assert "403" in await client(caller, kind).error()
    assert seen.callers == []


async def test_the_roots_of_one_trust_domain_do_not_vouch_for_another(
    kind, serve, client, ca, words, seen
):
    other = words.Ca("other.example")
    forged = other.svid(words.REVIEWS)
    server = words.Member(words.believing(ca, other, svid=forged))
    server.let_in()
    port = await serve(server, kind)
    caller = words.Member(words.believing(ca, other, svid=ca.svid(words.PRODUCTPAGE)))
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    await client(caller, kind).error()
    assert (seen.callers, caller.causes) == ([], ["CONNECT"])
    strangers = words.Member(words.believing(ca, other, svid=other.svid(words.PRODUCTPAGE)))
    honest = words.Member(words.believing(ca, other, svid=ca.svid(words.REVIEWS)))
    honest.let_in()
    strangers.lead_to(await serve(honest, kind), tls=words.mutual(words.REVIEWS))
    await client(strangers, kind).error()
    assert seen.callers == []


async def test_a_revoked_client_is_not_let_in_any_more(
    kind, serve, client, ca, reviews, productpage, words, seen
):
    port = await serve(reviews, kind)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    caller = client(productpage, kind)
    assert await caller.call() == words.PRODUCTPAGE
    current = reviews.source.current()
    reviews.rotate(words.replace(current, revoked=frozenset([words.PRODUCTPAGE])))
    await caller.error()
    assert len(seen.callers) == 1
