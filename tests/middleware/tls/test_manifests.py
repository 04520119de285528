"""What manifests say of callers and of connections holds at the servers of a member."""

import pytest

from meshlib.controlplane import Scope, compile_snapshot, load_documents

SCOPE = Scope("default", (("app", "reviews"),))


def manifest(kind, spec):
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "x"},
        "spec": spec,
    }


def peers(mode):
    return manifest("PeerAuthentication", {"mtls": {"mode": mode}})


@pytest.fixture
def obeying():
    """A member that has these manifests."""

    def make(member, *manifests):
        member.engine.apply(compile_snapshot(load_documents(manifests), SCOPE))
        return member

    return make


async def test_a_policy_by_principal_lets_in_whom_a_certificate_proves(
    kind, serve, callers, obeying, reviews, words, seen
):
    known = words.PRODUCTPAGE.removeprefix("spiffe://")
    allow = {"rules": [{"from": [{"source": {"principals": [known]}}]}]}
    obeying(reviews, manifest("AuthorizationPolicy", allow))
    secure, plain = callers(await serve(reviews, kind), kind)
    assert await secure.call() == words.PRODUCTPAGE
    await plain.error()
    assert seen.callers == [words.PRODUCTPAGE]


async def test_strict_peers_have_certificates(kind, serve, callers, obeying, reviews, words, seen):
    obeying(reviews, peers("STRICT"))
    secure, plain = callers(await serve(reviews, kind), kind)
    assert await secure.call() == words.PRODUCTPAGE
    await plain.error()
    assert seen.callers == [words.PRODUCTPAGE]


async def test_who_has_no_certificate_serves_in_plain_text_where_that_is_let_in(
    kind, serve, callers, obeying, words
):
    allow = {"rules": [{"to": [{"operation": {"methods": ["GET", "POST"]}}]}]}
    for said in (peers("PERMISSIVE"), peers("DISABLE")):
        member = obeying(words.Member(), said, manifest("AuthorizationPolicy", allow))
        _, plain = callers(await serve(member, kind), kind)
        assert await plain.call() == "nobody"


async def test_a_port_may_be_more_lenient_than_the_others(
    kind, serve, callers, obeying, reviews, words, seen
):
    reviews.let_in(plaintext=True)
    first, second = await serve(reviews, kind), await serve(reviews, kind)
    ports = {str(first): {"mode": "PERMISSIVE"}}
    said = {"selector": {"matchLabels": {"app": "reviews"}}, "mtls": {"mode": "STRICT"}}
    obeying(reviews, manifest("PeerAuthentication", {**said, "portLevelMtls": ports}))
    secure, plain = callers(first, kind)
    assert await secure.call() == words.PRODUCTPAGE
    assert await plain.call() == "nobody"
    secure, plain = callers(second, kind)
    assert await secure.call() == words.PRODUCTPAGE
    await plain.error()  # its connection is closed before it says a word
    assert seen.callers == [words.PRODUCTPAGE, "", words.PRODUCTPAGE]
