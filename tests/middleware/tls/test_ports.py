"""Policies that go by the port of a server, and modes of single ports."""

import asyncio
import socket
from concurrent import futures

import grpc
import grpc.aio
import pytest

from meshlib.controlplane import Scope, compile_snapshot, load_documents
from meshlib.middleware._grpc_place import local_address

SCOPE = Scope("default", (("app", "reviews"),))
GRPC = ("grpc", "grpc.aio")


def manifest(kind, spec):
    selected = {"selector": {"matchLabels": {"app": "reviews"}}, **spec}
    version = "security.istio.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": selected}


def peers(mode, ports):
    levels = {str(port): {"mode": each} for port, each in ports.items()}
    more = {"portLevelMtls": levels} if levels else {}
    return manifest("PeerAuthentication", {"mtls": {"mode": mode}, **more})


def by_port(port, action="ALLOW"):
    rules = [{"to": [{"operation": {"ports": [str(port)]}}]}]
    return manifest("AuthorizationPolicy", {"action": action, "rules": rules})


def by_address(address):
    rules = [{"when": [{"key": "destination.ip", "values": [address]}]}]
    return manifest("AuthorizationPolicy", {"rules": rules})


def obey(member, *manifests):
    member.engine.apply(compile_snapshot(load_documents(manifests), SCOPE))


@pytest.fixture
def secure(productpage, words, client):
    def make(port, kind):
        productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
        return client(productpage, kind)

    return make


@pytest.fixture
def plain(words, client):
    def make(port, kind):
        member = words.Member()
        member.lead_to(port, tls=None)
        return client(member, kind)

    return make


async def gone(reader):
    """Nothing is said before the connection ends."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def free_port():
    def find() -> int:
        with socket.create_server(("127.0.0.1", 0)) as made:
            return made.getsockname()[1]

    return find


@pytest.fixture
async def server(seen, words):
    """A gRPC server that listens as it is told; gives what that gives."""
    closing = []

    async def start(kind, member, listen, *, handler=None, interceptors=None):
        handler = handler or words.Echo(seen, awaited=kind == "grpc.aio")
        given = interceptors or interceptors_of(kind, member)
        if kind == "grpc.aio":
            made = grpc.aio.server(interceptors=given)
            closing.append(lambda: made.stop(0))
        else:
            made = grpc.server(futures.ThreadPoolExecutor(4), interceptors=given)
            closing.append(lambda: asyncio.to_thread(made.stop(0).wait))
        made.add_generic_rpc_handlers((handler,))
        found = listen(made)
        starting = made.start()
        if starting is not None:
            await starting
        return found

    yield start
    for close in closing:
        await close()


def interceptors_of(kind, member):
    aio = kind == "grpc.aio"
    return member.grpc.aio_server_interceptors() if aio else member.grpc.server_interceptors()


async def test_a_policy_by_port_lets_in_at_that_port_alone(
    kind, serve, secure, plain, reviews, words, seen
):
    reviews.let_in(plaintext=True)
    port = await serve(reviews, kind)
    obey(reviews, by_port(port))
    assert await secure(port, kind).call() == words.PRODUCTPAGE
    assert await plain(port, kind).call() == "nobody"
    obey(reviews, by_port(port - 1))
    await secure(port, kind).error()
    await plain(port, kind).error()
    assert len(seen.callers) == 2


async def test_a_policy_by_port_turns_away_at_that_port_alone(kind, serve, secure, reviews, words):
    port = await serve(reviews, kind)
    obey(reviews, peers("STRICT", {}), by_port(port - 1, "DENY"))
    assert await secure(port, kind).call() == words.PRODUCTPAGE
    obey(reviews, peers("STRICT", {}), by_port(port, "DENY"))
    said = await secure(port, kind).error()
    assert ("403" if kind == "aiohttp" else "RBAC: access denied") in said


async def test_who_has_no_certificate_knows_his_port_too(kind, serve, plain, words):
    member = words.Member()
    port = await serve(member, kind)
    obey(member, by_port(port))
    caller = plain(port, kind)
    assert await caller.call() == "nobody"
    obey(member, by_port(port - 1))
    await caller.error()


async def test_modes_of_single_ports_come_and_go_without_a_restart(
    kind, serve, secure, plain, reviews, words, seen
):
    reviews.let_in(plaintext=True)
    port = await serve(reviews, kind)
    caller, known = plain(port, kind), secure(port, kind)
    for strict in (peers("PERMISSIVE", {port: "STRICT"}), peers("STRICT", {port - 1: "DISABLE"})):
        obey(reviews, peers("PERMISSIVE", {port - 1: "STRICT"}))
        assert await caller.call() == "nobody"
        obey(reviews, strict)
        await caller.error()
        assert await known.call() == words.PRODUCTPAGE
        caller.member.engine.renew()
    assert seen.callers == ["", words.PRODUCTPAGE] * 2
    obey(reviews, peers("STRICT", {port: "DISABLE"}))
    assert await caller.call() == "nobody"


async def test_a_strict_port_closes_its_connections_before_a_word_is_said(
    kind, serve, reviews, secure, words
):
    """Below the policies, which would not be met by what is no call."""
    reviews.let_in(plaintext=True)
    port = await serve(reviews, kind)
    obey(reviews, peers("PERMISSIVE", {port: "STRICT"}))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n")
    assert await gone(reader)
    writer.close()
    assert await secure(port, kind).call() == words.PRODUCTPAGE


@pytest.mark.parametrize("library", GRPC)
async def test_a_front_tells_of_each_connection_at_which_port_it_came_in(
    library, server, secure, plain, reviews, words
):
    reviews.let_in(plaintext=True)
    add = reviews.grpc.add_port
    first, second = await server(
        library, reviews, lambda made: [add(made, "127.0.0.1:0"), add(made, "127.0.0.1:0")]
    )
    obey(reviews, by_port(first))
    assert await secure(first, library).call() == words.PRODUCTPAGE
    assert await plain(first, library).call() == "nobody"
    await secure(second, library).error()
    await plain(second, library).error()
    obey(reviews, peers("PERMISSIVE", {second: "STRICT"}))
    assert await plain(first, library).call() == "nobody"
    await plain(second, library).error()
    judged = [end.record.request.connection for end in reviews.ended]
    found = {one.local_address for one in judged if not one.refusal}
    assert found == {f"127.0.0.1:{first}", f"127.0.0.1:{second}"}


@pytest.mark.parametrize("library", GRPC)
async def test_ports_with_tls_and_without_are_told_apart(
    library, server, secure, plain, reviews, words, free_port
):
    reviews.let_in(plaintext=True)
    other = free_port()
    port = await server(
        library,
        reviews,
        lambda made: reviews.grpc.add_port(made, "127.0.0.1:0", plaintext=f"127.0.0.1:{other}"),
    )
    for wanted, allowed in ((port, True), (other, False)):
        obey(reviews, by_port(wanted))
        if allowed:
            assert await secure(port, library).call() == words.PRODUCTPAGE
            await plain(other, library).error()
        else:
            assert await plain(other, library).call() == "nobody"
            await secure(port, library).error()


@pytest.mark.parametrize("library", GRPC)
@pytest.mark.parametrize("order", ["own first", "own last", "own alone", "two of the mesh"])
async def test_where_a_port_cannot_be_told_nobody_is_let_in_by_it(
    library, order, server, plain, words, seen
):
    member = words.Member()

    def listen(made):
        steps = {
            "own first": (own, mesh),
            "own last": (mesh, own),
            "own alone": (own,),
            "two of the mesh": (mesh, mesh),
        }
        return [step(made) for step in steps[order]]

    def own(made):
        return made.add_insecure_port("127.0.0.1:0")

    def mesh(made):
        return member.grpc.add_port(made, "127.0.0.1:0")

    for port in await server(library, member, listen):
        obey(member, by_port(port))
        assert "denied" in await plain(port, library).error()
        obey(member, by_port(port - 1, "DENY"))
        assert "denied" in await plain(port, library).error()
    assert seen.callers == []


@pytest.mark.parametrize("library", GRPC)
async def test_servers_of_the_same_handlers_are_told_apart(library, server, plain, words, seen):
    member = words.Member()
    shared = {
        "handler": words.Echo(seen, awaited=library == "grpc.aio"),
        "interceptors": interceptors_of(library, member),
    }

    def mesh(made):
        return member.grpc.add_port(made, "127.0.0.1:0")

    known = await server(library, member, mesh, **shared)
    other = await server(library, member, mesh, **shared)
    strange = await server(
        library, member, lambda made: made.add_insecure_port("127.0.0.1:0"), **shared
    )
    obey(member, by_port(known))
    callers = [plain(port, library) for port in (known, other, strange)]
    for _ in range(3):
        assert await callers[0].call() == "nobody"
        assert "denied" in await callers[1].error()
        assert "denied" in await callers[2].error()


async def test_a_synchronous_handler_of_an_asyncio_server_is_at_its_port(
    server, plain, words, seen
):
    member = words.Member()
    port = await server(
        "grpc.aio",
        member,
        lambda made: member.grpc.add_port(made, "127.0.0.1:0"),
        handler=words.Echo(seen, awaited=False),
    )
    obey(member, by_port(port))
    assert await plain(port, "grpc.aio").call() == "nobody"
    obey(member, by_port(port - 1))
    assert "denied" in await plain(port, "grpc.aio").error()


@pytest.mark.parametrize("library", GRPC)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
async def test_the_address_is_known_where_a_server_listens_at_one_alone(
    library, host, server, plain, words
):
    member = words.Member()
    port = await server(library, member, lambda made: member.grpc.add_port(made, f"{host}:0"))
    obey(member, by_address("127.0.0.1"))
    caller = plain(port, library)
    if host == "127.0.0.1":
        assert await caller.call() == "nobody"
    else:
        assert "denied" in await caller.error()
    obey(member, by_port(port))
    assert await caller.call() == "nobody"


async def test_calls_that_come_in_alike_share_what_is_known_of_it(kind, serve, secure, reviews):
    port = await serve(reviews, kind)
    obey(reviews, peers("STRICT", {}), by_port(port))
    caller = secure(port, kind)
    await caller.call()
    await caller.call()
    first, second = [end.record.request.connection for end in reviews.ended]
    assert first is second
    assert first.local_address == f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("10.0.0.7:9080", "10.0.0.7:1"),
        ("ipv4:10.0.0.7:9080", "10.0.0.7:1"),
        ("[fd00::7]:9080", "[fd00::7]:1"),
        ("ipv6:[fd00::7]:9080", "[fd00::7]:1"),
        ("0.0.0.0:0", ":1"),
        ("[::]:0", ":1"),
        ("reviews.internal:9080", ":1"),
        ("dns:///reviews:9080", ":1"),
        ("unix:/run/reviews", ""),
        ("unix-abstract:reviews", ""),
    ],
)
def test_what_an_address_to_listen_at_says_of_where_calls_come_in(address, local):
    assert local_address(address, 1) == local
