"""Callers with TLS and without at one port, until the mesh is told to be strict."""

import socket

import pytest


async def test_both_kinds_of_callers_come_in_at_one_port(
    kind, serve, callers, reviews, words, seen
):
    reviews.let_in(plaintext=True)
    secure, plain = callers(await serve(reviews, kind), kind)
    for _ in range(3):
        assert await secure.call() == words.PRODUCTPAGE
        assert await plain.call() == "nobody"
    counted = reviews.runtime.security.inbound.callers
    assert counted == {"127.0.0.1": 3}


async def test_strictness_comes_and_goes_without_a_restart(
    kind, serve, callers, reviews, words, seen
):
    reviews.let_in(plaintext=True)
    secure, plain = callers(await serve(reviews, kind), kind)
    assert await plain.call() == "nobody"
    reviews.let_in()
    await plain.error()
    assert await secure.call() == words.PRODUCTPAGE
    assert seen.callers == ["", words.PRODUCTPAGE]
    reviews.let_in(plaintext=True)
    plain.member.engine.renew()
    assert await plain.call() == "nobody"
    assert await secure.call() == words.PRODUCTPAGE


async def test_a_member_with_credentials_and_no_word_of_policy_takes_both(
    kind, serve, callers, ca, words
):
    member = words.Member(ca.credentials(words.REVIEWS))
    secure, plain = callers(await serve(member, kind), kind)
    assert await secure.call() == words.PRODUCTPAGE
    assert await plain.call() == "nobody"


async def test_a_strict_member_needs_no_word_of_policy(kind, serve, callers, ca, words):
    member = words.Member(ca.credentials(words.REVIEWS), mtls="strict")
    secure, plain = callers(await serve(member, kind), kind)
    assert await secure.call() == words.PRODUCTPAGE
    await plain.error()


async def test_encryption_that_is_switched_off_is_not_offered(serve, callers, reviews, words):
    reviews.let_in(tls=None)
    secure, plain = callers(await serve(reviews, "aiohttp"), "aiohttp")
    assert await plain.call() == "nobody"
    await secure.error()


@pytest.mark.parametrize("library", ["grpc", "grpc.aio"])
async def test_a_second_port_takes_those_in_plain_text(
    library, serve, client, reviews, productpage, words
):
    with socket.create_server(("127.0.0.1", 0)) as free:
        other = free.getsockname()[1]
    reviews.let_in(plaintext=True)
    port = await serve(reviews, library, plaintext=f"127.0.0.1:{other}")
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    assert await client(productpage, library).call() == words.PRODUCTPAGE
    plain = words.Member()
    plain.lead_to(other, tls=None)
    caller = client(plain, library)
    assert await caller.call() == "nobody"
    reviews.let_in()
    assert "a verified certificate is required" in await caller.error()


async def test_the_front_tells_the_server_whose_connection_it_is(serve, callers, reviews):
    reviews.let_in(plaintext=True)
    _, plain = callers(await serve(reviews, "grpc.aio"), "grpc.aio")
    await plain.call()
    host, _, port = reviews.ended[0].record.request.source.rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) > 0


async def test_garbage_and_silence_do_not_disturb_a_permissive_port(
    kind, serve, callers, reviews, words
):
    reviews.let_in(plaintext=True)
    port = await serve(reviews, kind)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for garbage in (b"\x16", b"\x16\x03\x01\xff\xff" + b"x" * 4000, b"\x00" * 100, b""):
        with socket.create_connection(("127.0.0.1", port)) as rude:
            rude.sendall(garbage)
    secure, plain = callers(port, kind)
    assert await secure.call() == words.PRODUCTPAGE
    assert await plain.call() == "nobody"
    for one in silent:
        one.close()


async def test_where_a_call_came_in_is_known(serve, callers, reviews):
    reviews.let_in(plaintext=True)
    port = await serve(reviews, "aiohttp")
    secure, plain = callers(port, "aiohttp")
    await secure.call()
    await plain.call()
    found = [end.record.request.connection.local_address for end in reviews.ended]
    assert found == [f"127.0.0.1:{port}"] * 2
