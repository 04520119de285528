"""Certificates and roots are exchanged under load, and no call fails of it."""

import asyncio
import time

import grpc
import grpc.aio
import pytest


@pytest.fixture
def load(client):
    """Calls without a pause by several callers, until told to stop; how many went well."""

    async def run(member, kind, until, callers=6) -> int:
        calling = client(member, kind)
        await calling.call()
        done = 0

        async def loop() -> None:
            nonlocal done
            while not until.is_set():
                await calling.call()
                done += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(loop())
        return done

    return run


async def test_leaves_of_both_sides_are_exchanged_under_load(
    kind, serve, load, ca, reviews, productpage, words
):
    port = await serve(reviews, kind)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    over = asyncio.Event()

    async def rotate() -> None:
        for _ in range(10):
            reviews.rotate(ca.credentials(words.REVIEWS))
            productpage.rotate(ca.credentials(words.PRODUCTPAGE))
            begun = len(productpage.ended)
            while len(productpage.ended) < begun + 30:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        over.set()

    rotating = asyncio.create_task(rotate())
    done = await load(productpage, kind, over)
    await rotating
    assert done >= 200
    assert all(getattr(end.outcome, "cause", None) is None for end in productpage.ended)


async def test_roots_are_exchanged_one_after_the_other(
    kind, serve, load, ca, reviews, productpage, words
):
    """Prepare, activate, prune: whoever is alive shares a root with everybody."""
    new = words.Ca()
    port = await serve(reviews, kind)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    over = asyncio.Event()
    both = words.replace(ca.bundle, roots=(ca.pem, new.pem), sequence=1)

    def credentials(issuer, bundle, name):
        made = issuer.credentials(name)
        return words.replace(made, bundles={"cluster.local": bundle})

    async def turn(member, *wanted) -> None:
        member.rotate(credentials(*wanted))
        begun = len(productpage.ended)
        while len(productpage.ended) < begun + 20:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    async def rotate() -> None:
        for issuer, bundle in ((ca, both), (new, both), (new, new.bundle)):
            await turn(reviews, issuer, bundle, words.REVIEWS)
            await turn(productpage, issuer, bundle, words.PRODUCTPAGE)
        over.set()

    rotating = asyncio.create_task(rotate())
    assert await load(productpage, kind, over) >= 100
    await rotating
    old = words.Member(ca.credentials(words.PRODUCTPAGE))
    old.lead_to(port, tls=words.mutual(words.REVIEWS))
    await words.Client(old, "grpc.aio").error() if kind != "aiohttp" else None


async def test_a_member_without_credentials_yet_begins_when_they_come(
    kind, serve, client, ca, reviews, productpage, words
):
    port = await serve(reviews, kind)
    productpage.source.__init__()
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    caller = client(productpage, kind)
    assert "it has no credentials yet" in await caller.error()
    productpage.rotate(ca.credentials(words.PRODUCTPAGE))
    productpage.engine.clusters["reviews"].balance.endpoints[f"127.0.0.1:{port}"].answered()
    assert await caller.call() == words.PRODUCTPAGE


async def test_another_name_of_the_service_holds_for_the_next_call(
    kind, serve, client, reviews, productpage, words
):
    port = await serve(reviews, kind)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    caller = client(productpage, kind)
    await caller.call()
    productpage.lead_to(port, tls=words.mutual(words.RATINGS), spiffe_id=words.RATINGS)
    await caller.error()
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    assert await caller.call() == words.PRODUCTPAGE


async def test_endpoints_of_one_address_but_two_clusters_are_not_mixed_up(
    kind, serve, client, reviews, productpage, words, seen
):
    """A connection in plain text is never used for what has to be encrypted."""
    permissive = reviews
    permissive.let_in(plaintext=True)
    port = await serve(permissive, kind)
    productpage.lead_to(port, tls=None)
    caller = client(productpage, kind)
    assert await caller.call() == "nobody"
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    assert await caller.call() == words.PRODUCTPAGE
    productpage.lead_to(port, tls=None)
    assert await caller.call() == "nobody"
    assert seen.callers == ["", words.PRODUCTPAGE, ""]


@pytest.mark.parametrize("library", ["grpc", "grpc.aio"])
async def test_a_stream_lives_on_when_certificates_are_exchanged(
    library, ca, reviews, productpage, words, serve, client
):
    begun, turn = asyncio.Event(), asyncio.Event()

    class Slow(grpc.GenericRpcHandler):
        def service(self, details):
            async def stream(_request, context):
                yield b"before"
                begun.set()
                await turn.wait()
                yield b"after"

            return grpc.unary_stream_rpc_method_handler(stream)

    server = grpc.aio.server(interceptors=reviews.grpc.aio_server_interceptors())
    server.add_generic_rpc_handlers((Slow(),))
    port = reviews.grpc.add_port(server, "127.0.0.1:0")
    await server.start()
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    heard = []
    awaited = library == "grpc.aio"
    hooks = productpage.grpc
    channel = hooks.aio_channel(words.HOST) if awaited else hooks.channel(words.HOST)

    def listen():
        call = channel.unary_stream("/test/Watch")
        heard.extend([*call(b"", timeout=20)])

    async def alisten():
        async for one in channel.unary_stream("/test/Watch")(b"", timeout=20):
            heard.append(one)  # noqa: PERF401 - one after the other

    listening = asyncio.create_task(alisten() if awaited else asyncio.to_thread(listen))
    await asyncio.wait_for(begun.wait(), 20)
    productpage.rotate(ca.credentials(words.PRODUCTPAGE))
    reviews.rotate(ca.credentials(words.REVIEWS))
    with_new = channel.unary_stream("/test/Watch")
    if awaited:
        first = await with_new(b"", timeout=20).read()
    else:
        first = await asyncio.to_thread(lambda: next(with_new(b"", timeout=20)))
    assert first == b"before"
    turn.set()
    await listening
    assert heard == [b"before", b"after"]
    closing = channel.close()
    if closing is not None:
        await closing
    await server.stop(0)


@pytest.mark.parametrize("library", ["grpc", "grpc.aio"])
async def test_a_closed_channel_ends_the_streams_that_began_with_other_certificates(
    library, ca, reviews, productpage, words
):
    class Endless(grpc.GenericRpcHandler):
        def service(self, details):
            async def stream(_request, context):
                yield b"first"
                await asyncio.Event().wait()

            return grpc.unary_stream_rpc_method_handler(stream)

    server = grpc.aio.server(interceptors=reviews.grpc.aio_server_interceptors())
    server.add_generic_rpc_handlers((Endless(),))
    port = reviews.grpc.add_port(server, "127.0.0.1:0")
    await server.start()
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    hooks, calls = productpage.grpc, []
    channel = hooks.aio_channel(words.HOST) if library == "grpc.aio" else hooks.channel(words.HOST)
    for _ in range(2):
        calls.append(channel.unary_stream("/test/Watch")(b""))
        first = calls[-1].read() if library == "grpc.aio" else asyncio.to_thread(next, calls[-1])
        assert await first == b"first"
        productpage.rotate(ca.credentials(words.PRODUCTPAGE))
    closing = channel.close()
    if closing is not None:
        await closing
    for call in calls:
        more = call.read() if library == "grpc.aio" else asyncio.to_thread(next, call)
        with pytest.raises((grpc.RpcError, asyncio.CancelledError)):
            await asyncio.wait_for(more, 10)
    await server.stop(0)


@pytest.fixture
def two_hours_on(reviews):
    """To the server, certificates of an hour have ended."""

    def pass_by():
        reviews.runtime.security.inbound._wall = lambda: time.time() + 7200

    return pass_by


async def test_a_connection_that_is_there_outlives_its_certificate(
    kind, serve, client, reviews, productpage, words, two_hours_on
):
    """Envoy keeps its connections when it has a new certificate, and so do others."""
    port = await serve(reviews, kind)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    caller = client(productpage, kind)
    assert await caller.call() == words.PRODUCTPAGE
    two_hours_on()
    assert await caller.call() == words.PRODUCTPAGE
    current, new = reviews.source.current(), words.Ca()
    reviews.rotate(words.replace(current, bundles={"cluster.local": new.bundle}))
    assert await caller.call() == words.PRODUCTPAGE


async def test_who_is_revoked_is_refused_though_his_certificate_has_ended_anyway(
    kind, serve, client, reviews, productpage, words, two_hours_on, seen
):
    port = await serve(reviews, kind)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    caller = client(productpage, kind)
    await caller.call()
    two_hours_on()
    current = reviews.source.current()
    reviews.rotate(words.replace(current, revoked=frozenset([words.PRODUCTPAGE])))
    await caller.error()
    assert seen.callers == [words.PRODUCTPAGE]


async def test_connections_of_before_are_closed_as_soon_as_nobody_uses_them(
    serve, ca, reviews, productpage, words
):
    """Else each exchange leaves some behind, until they have been idle for long enough."""
    port = await serve(reviews, "aiohttp")
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    url = f"http://{words.HOST}/"
    async with productpage.aiohttp.session() as session:

        async def call():
            async with session.get(url) as response:
                return await response.read()

        for _ in range(3):
            await asyncio.gather(call(), call(), call())
            productpage.rotate(ca.credentials(words.PRODUCTPAGE))
        await call()
        held = [one for kept in session.connector._conns.values() for one, _ in kept]
        assert len(held) == 1
        async with session.get(url) as response:
            productpage.rotate(ca.credentials(words.PRODUCTPAGE))
            await call()
            await response.read()
        held = [one for kept in session.connector._conns.values() for one, _ in kept]
        assert len(held) == 1
