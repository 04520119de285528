"""Authorization services of both kinds, asked over real connections by servers of all kinds."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web

import meshlib
from meshlib.dataplane import (
    AskAuthorization,
    AuthorizationVerdict,
    BodyRead,
    Request,
    UpstreamEndpoint,
)
from meshlib.dataplane.message import Connection, Peer
from meshlib.model import (
    ROUTER,
    Cluster,
    Exact,
    HeaderValueOption,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    NonForwardingAction,
    Route,
    RouteConfiguration,
    Static,
    Struct,
    VirtualHost,
    gather,
)
from meshlib.model.authn import ExtAuthz, GrpcAuthorization, HttpAuthorization, RequestBody
from meshlib.model.security import UpstreamTls
from meshlib.testing import assignment
from meshlib.testing.grpc_servers import aio_serving, serving
from meshlib.testing.http_servers import started
from meshlib.xds.ext_authz import METHOD, Asked, decode_response, encode_request
from meshlib.xds.protos import message_class

GET = "/shop.Shop/Get"
CHECK: Any = message_class("envoy.service.auth.v3.CheckRequest")
ANSWER: Any = message_class("envoy.service.auth.v3.CheckResponse")
USER = HeaderValueOption(name="x-user", value="jason", append_action="overwrite_if_exists_or_add")


class Service:
    """Lets callers pass who say the word, and tells who they are."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.port = self.http_port = 0

    def check(self, request: Any, context: Any) -> Any:
        self.asked.append(request.attributes)
        http = request.attributes.request.http
        if http.headers.get("x-word") == "please" or "please" in http.body:
            header = {"header": {"key": "X-User", "value": "jason"}}
            return ANSWER(ok_response={"headers": [header]})
        return ANSWER(
            status={"code": 7},
            denied_response={
                "status": {"code": 401},
                "body": "say please",
                "headers": [{"header": {"key": "x-why", "value": "manners"}}],
            },
        )

    async def check_http(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path_qs, dict(request.headers)))
        if request.path.endswith("/long"):
            return web.Response(body=b"x" * (1024 * 1024 + 1))
        if request.headers.get("x-word") == "please":
            return web.Response(headers={"x-user": "jason"})
        return web.Response(status=401, text="say please", headers={"x-why": "manners"})


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()

    def check(request: bytes, context: Any) -> bytes:
        answer: bytes = made.check(CHECK.FromString(request), context).SerializeToString()
        return answer

    with serving(METHOD, check) as port:
        made.port = port
        yield made


@pytest.fixture
async def http_service(service: Service) -> AsyncIterator[Service]:
    runner = await started(service.check_http)
    service.http_port = runner.addresses[0][1]
    yield service
    await runner.cleanup()


OVER_GRPC, OVER_HTTP = (
    GrpcAuthorization(cluster="authz"),
    HttpAuthorization(
        cluster="authz",
        uri="http://authz",
        path_prefix="/check",
        allowed_upstream_headers=(Exact("x-user"),),
    ),
)


@pytest.fixture
def mesh() -> Iterator[meshlib.Mesh]:
    with meshlib.Mesh(config=[]) as made:
        yield made


def guard(mesh: meshlib.Mesh, port: int, kind: Any = OVER_GRPC, **fields: Any) -> None:
    """All calls to this member are asked about at that port."""
    if kind is OVER_HTTP:
        fields["allowed_headers"] = (Exact("x-word"),)
    config = ExtAuthz(service=kind, **{"timeout": 10.0, **fields})
    host = VirtualHost(
        name="here", domains=("*",), routes=(Route(name="all", action=NonForwardingAction()),)
    )
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="inbound", virtual_hosts=(host,)),
        http_filters=(HttpFilter(name="authz", config=config), ROUTER),
    )
    places = assignment((f"127.0.0.1:{port}",), name="authz")
    authz = Cluster(name="authz", discovery=Static(places))
    snapshot = gather(listeners=[Listener(name="inbound", http=http)], clusters=[authz])
    mesh._runtime.commit(mesh._engine.prepare(snapshot))


# --- gRPC servers ---


@pytest.fixture
def sync_server(mesh: meshlib.Mesh) -> Iterator[str]:
    def get(request: bytes, context: Any) -> bytes:
        user: str = dict(context.invocation_metadata()).get("x-user", "")
        return user.encode() + request

    with serving(GET, get, interceptors=mesh.grpc.server_interceptors()) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def aio_server(mesh: meshlib.Mesh) -> AsyncIterator[str]:
    async def get(request: bytes, context: Any) -> bytes:
        user: str = dict(context.invocation_metadata()).get("x-user", "")
        return user.encode() + request

    async with aio_serving(GET, get, interceptors=mesh.grpc.aio_server_interceptors()) as port:
        yield f"127.0.0.1:{port}"


PLEASE = (("x-word", "please"), ("x-user", "root"))


def refused(error: Any) -> None:
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAUTHENTICATED, "say please")
    assert dict(error.trailing_metadata())["x-why"] == "manners"


def test_a_grpc_server_asks_before_it_serves(
    mesh: meshlib.Mesh, service: Service, sync_server: str
) -> None:
    guard(mesh, service.port)
    with grpc.insecure_channel(sync_server) as channel:
        call: Any = channel.unary_unary(GET)
        assert call(b"!", timeout=10, metadata=PLEASE) == b"jason!"
        with pytest.raises(grpc.RpcError) as failed:
            call(b"!", timeout=10)
    refused(failed.value)
    http = service.asked[0].request.http
    assert (http.method, http.path, http.protocol) == ("POST", GET, "HTTP/2")
    assert service.asked[0].source.address.socket_address.port_value


async def test_an_aio_server_asks_before_it_serves(
    mesh: meshlib.Mesh, service: Service, aio_server: str
) -> None:
    guard(mesh, service.port)
    async with grpc.aio.insecure_channel(aio_server) as channel:
        call: Any = channel.unary_unary(GET)
        assert await call(b"!", timeout=10, metadata=PLEASE) == b"jason!"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"!", timeout=10)
    refused(failed.value)
    await mesh.aclose()


def test_the_message_of_a_call_is_shown(
    mesh: meshlib.Mesh, service: Service, sync_server: str
) -> None:
    guard(mesh, service.port, with_request_body=RequestBody(max_request_bytes=64))
    with grpc.insecure_channel(sync_server) as channel:
        call: Any = channel.unary_unary(GET)
        assert call(b"please", timeout=10) == b"jasonplease"


# --- aiohttp servers ---


@pytest.fixture
async def url(mesh: meshlib.Mesh) -> AsyncIterator[str]:
    async def handler(request: web.Request) -> web.Response:
        body = await request.text()
        return web.Response(text=f"{request.headers.get('x-user')} {body}")

    runner = await started(handler, mesh.aiohttp.setup)
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/p?q=1"
    await runner.cleanup()


async def asked(
    url: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.parametrize("kind", [OVER_GRPC, OVER_HTTP], ids=["grpc", "http"])
async def test_an_aiohttp_server_asks_before_it_serves(
    mesh: meshlib.Mesh, http_service: Service, url: str, kind: Any
) -> None:
    guard(mesh, http_service.http_port if kind is OVER_HTTP else http_service.port, kind)
    assert await asked(url, headers={"x-word": "please", "x-user": "root"}) == (200, "jason ")
    assert await asked(url) == (401, "say please")
    await mesh.aclose()


def test_a_grpc_server_may_ask_over_http(mesh: meshlib.Mesh, sync_server: str) -> None:
    answers = Service()
    loop = asyncio.new_event_loop()
    with futures.ThreadPoolExecutor(1) as pool:
        runner = loop.run_until_complete(started(answers.check_http))
        running = pool.submit(loop.run_forever)
        guard(mesh, runner.addresses[0][1], OVER_HTTP)
        with grpc.insecure_channel(sync_server) as channel:
            call: Any = channel.unary_unary(GET)
            assert call(b"!", timeout=10, metadata=PLEASE) == b"jason!"
            with pytest.raises(grpc.RpcError) as failed:
                call(b"!", timeout=10)
        refused(failed.value)
        mesh.close()
        loop.call_soon_threadsafe(loop.stop)
        running.result(10)
    loop.run_until_complete(runner.cleanup())
    loop.close()
    method, path, headers = answers.asked[0]
    assert (method, path) == ("POST", "/check/shop.Shop/Get")
    assert "x-user" not in headers


@pytest.mark.parametrize("size", [0, 6, 100_000])
async def test_a_body_is_shown_and_still_reaches_the_handler(
    mesh: meshlib.Mesh, service: Service, url: str, size: int
) -> None:
    shown = RequestBody(max_request_bytes=16, allow_partial_message=True)
    guard(mesh, service.port, with_request_body=shown)
    body = b"please" + b"x" * size
    assert await asked(url, body) == (200, f"jason {body.decode()}")
    http = service.asked[0].request.http
    assert http.body == body[:16].decode()
    assert http.headers["x-envoy-auth-partial-body"] == ("true" if size > 10 else "false")
    await mesh.aclose()


async def test_a_body_that_is_too_long_is_refused(
    mesh: meshlib.Mesh, service: Service, url: str
) -> None:
    guard(mesh, service.port, with_request_body=RequestBody(max_request_bytes=16))
    status, _ = await asked(url, b"please" + b"x" * 100)
    assert (status, service.asked) == (413, [])


@pytest.mark.parametrize("kind", [OVER_GRPC, OVER_HTTP], ids=["grpc", "http"])
async def test_nobody_there_lets_nobody_in(mesh: meshlib.Mesh, url: str, kind: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        guard(mesh, taken.getsockname()[1], kind)
        assert await asked(url, headers={"x-word": "please"}) == (403, "")
    await mesh.aclose()


@pytest.mark.parametrize("kind", [OVER_GRPC, OVER_HTTP], ids=["grpc", "http"])
async def test_a_silent_service_lets_nobody_in(mesh: meshlib.Mesh, url: str, kind: Any) -> None:
    """Its connections are taken, and never answered."""
    taken: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0)
    async with silent:
        guard(mesh, silent.sockets[0].getsockname()[1], kind, timeout=0.1)
        assert await asked(url, headers={"x-word": "please"}) == (403, "")
        for writer in taken:
            writer.close()
    assert taken
    await mesh.aclose()


@pytest.mark.parametrize("kind", [OVER_GRPC, OVER_HTTP], ids=["grpc", "http"])
def test_a_service_that_wants_tls_is_not_asked_in_plain_text(
    mesh: meshlib.Mesh, service: Service, kind: Any
) -> None:
    guard(mesh, service.port, kind)
    found = mesh._engine.clusters["authz"].pick()
    assert isinstance(found, UpstreamEndpoint)
    found.secured_by = Cluster(name="authz", tls=UpstreamTls(sni="authz"))
    request = Request("here:80", "GET", "/")
    verdict = mesh._runtime.services.ask(AskAuthorization(found, kind, request, (), 1.0))
    assert (verdict.ok, service.asked) == (None, [])


async def test_an_answer_without_end_is_none(
    mesh: meshlib.Mesh, http_service: Service, url: str
) -> None:
    guard(mesh, http_service.http_port, OVER_HTTP)
    assert (await asked(url.replace("/p?", "/long?")))[0] == 403
    await mesh.aclose()


# --- on the wire ---


def test_all_that_is_known_of_a_request_is_told() -> None:
    message = encode_request(
        Asked(
            method="GET",
            path="/p",
            host="shop",
            request_id="7",
            headers=(("a", "1"), ("a", "2"), ("b", "\udcff")),
            body=b"\xff",
            pack_as_bytes=True,
            source="[::1]:99",
            source_principal="spiffe://a/b",
            certificate=b"-- PEM",
            destination="10.0.0.1:80",
            destination_principal="spiffe://a/c",
            extensions=(("x", "y"),),
        )
    )
    told = CHECK.FromString(message).attributes
    assert told.source.address.socket_address.address == "::1"
    assert told.source.certificate == "--%20PEM"
    assert (told.source.principal, told.destination.principal) == ("spiffe://a/b", "spiffe://a/c")
    assert told.request.http.raw_body == b"\xff"
    assert dict(told.request.http.headers) == {"a": "1,2", "b": "\ufffd"}
    assert told.request.http.id == "7"
    assert dict(told.context_extensions) == {"x": "y"}


def decoded(message: bytes) -> AuthorizationVerdict:
    return decode_response(message, AuthorizationVerdict)


def test_garbage_and_an_error_are_no_verdict() -> None:
    assert decoded(b"\xff").ok is None
    assert decoded(ANSWER(error_response={}).SerializeToString()).ok is None


def test_an_answer_is_read_with_its_metadata() -> None:
    message = ANSWER(
        ok_response={
            "headers_to_remove": ["X-A"],
            "headers": [{"header": {"key": "X-User", "raw_value": b"jason"}}],
        },
        dynamic_metadata={"tier": "gold"},
    )
    verdict = decoded(message.SerializeToString())
    assert verdict.request_headers == (USER,)
    assert verdict.headers_to_remove == ("x-a",)
    assert verdict.dynamic_metadata == Struct((("tier", "gold"),))


def test_the_caller_is_named_by_what_its_certificate_says_first(
    mesh: meshlib.Mesh, service: Service
) -> None:
    guard(mesh, service.port)
    found = mesh._engine.clusters["authz"].pick()
    assert isinstance(found, UpstreamEndpoint)
    for peer, wanted in (
        (Peer(secure=True, uri_sans=("spiffe://a/b",), dns_sans=("h",)), "spiffe://a/b"),
        (Peer(secure=True, dns_sans=("h",), subject="CN=c"), "h"),
        (Peer(secure=True, subject="CN=c"), "CN=c"),
        (Peer(uri_sans=("spiffe://a/b",)), ""),
    ):
        request = Request("here:80", "GET", "/", connection=Connection(peer=peer))
        body = BodyRead(b"", complete=True)
        mesh._runtime.services.ask(AskAuthorization(found, OVER_GRPC, request, (), 10.0, body))
        assert service.asked[-1].source.principal == wanted
