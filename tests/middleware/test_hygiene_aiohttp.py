"""What hostile callers send to aiohttp's servers, byte for byte, and what becomes of it."""

import asyncio
import random
import time

import pytest
from aiohttp import web
from multidict import CIMultiDict

import meshlib
from meshlib.dataplane import Connection, Engine, Options, Peer
from meshlib.middleware import aiohttp as aiohttp_hooks
from meshlib.middleware import aiohttp_server
from meshlib.middleware._drive import Runtime
from meshlib.middleware.aiohttp import AiohttpHooks
from meshlib.model import (
    ROUTER,
    Exact,
    HeaderMatcher,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    NonForwardingAction,
    PathWithEscapedSlashesAction,
    Route,
    RouteConfiguration,
    VirtualHost,
    gather,
)
from meshlib.model.rbac import (
    AnyRule,
    CidrRange,
    HeaderRule,
    Policy,
    Rbac,
    RbacAction,
    RbacRules,
    RemoteIp,
    Rule,
    UrlPath,
)

ADMIN = UrlPath(Exact("/admin"))
GATEWAY = "spiffe://mesh.example/ns/edge/sa/gateway"


def listener(action: RbacAction | None, rule: Rule = ADMIN, **paths) -> Listener:
    """Calls that the rule matches are denied, or they alone are allowed; ``None``: no policy."""
    table = RouteConfiguration(
        name="t",
        virtual_hosts=(
            VirtualHost(
                name="v", domains=("*",), routes=(Route(name="all", action=NonForwardingAction()),)
            ),
        ),
    )
    filters: tuple[HttpFilter, ...] = (ROUTER,)
    if action is not None:
        policy = Policy(name="p", permissions=(rule,), principals=(AnyRule(),))
        rules = RbacRules(action=action, policies=(policy,))
        filters = (HttpFilter(name="rbac", config=Rbac(rules=rules)), ROUTER)
    http = HttpConnectionManager(
        routes=table, http_filters=filters, **{"normalize_path": True, **paths}
    )
    return Listener(name="inbound", http=http)


class Server:
    """An application behind the mesh, and what its handlers were given."""

    def __init__(self, *listeners: Listener) -> None:
        self.seen: list[tuple[str, str, CIMultiDict[str]]] = []
        self.bodies: list[bytes] = []
        self.engine = Engine(
            clock=time.monotonic,
            dice=random.Random(7).random,
            options=Options(complete=True, gateways=frozenset({GATEWAY})),
        )
        runtime = Runtime(self.engine, clock=time.monotonic, sleep=time.sleep)
        self.app = web.Application()
        for path in ("/admin", "/user@x", "/open/{tail:.*}", "/{tail:.*}"):
            self.app.router.add_route("*", path, self._handler(path))
        AiohttpHooks(runtime).setup(self.app)
        self.apply(*listeners)

    def apply(self, *listeners: Listener) -> None:
        self.engine.apply(gather(listeners=listeners))

    def _handler(self, route: str):
        async def handle(request: web.Request) -> web.Response:
            self.seen.append((route, request.path_qs, request.headers.copy()))
            self.bodies.append(await request.read())
            return web.Response(text=route)

        return handle

    async def start(self) -> None:
        self._runner = web.AppRunner(self.app, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site.port

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def says(self, text: bytes) -> bytes:
        """What is answered to these very bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(text)
            return await reader.read()
        finally:
            writer.close()

    async def status(
        self,
        target: str = "/open/x",
        *headers: str,
        method: str = "GET",
        version: str = "1.1",
        host: str | None = "good.example",
    ) -> int:
        named = () if host is None else (f"Host: {host}",)
        lines = (f"{method} {target} HTTP/{version}", *named, *headers, "Connection: close")
        answer = await self.says("\r\n".join((*lines, "", "")).encode("latin-1"))
        return int(answer.split(b" ")[1])

    @property
    def headers(self) -> CIMultiDict[str]:
        return self.seen[-1][2]


@pytest.fixture
async def behind():
    """Makes servers; they are stopped when the test is over."""
    made: list[Server] = []

    async def make(*listeners: Listener) -> Server:
        server = Server(*listeners)
        await server.start()
        made.append(server)
        return server

    yield make
    for server in made:
        await server.stop()


@pytest.fixture
async def server(behind) -> Server:
    return await behind(listener(RbacAction.DENY))


# --- paths ---


@pytest.mark.parametrize(
    "target",
    ["/%61dmin", "/./admin", "/x/../admin", "/x/%2e%2e/admin", "/admin?x", "/%61%64%6D%69%6e"],
)
async def test_3_1_a_path_is_judged_by_what_it_stands_for(server, target):
    assert await server.status(target) == 403
    assert server.seen == []


@pytest.mark.parametrize("target", ["//admin", "/x/..//admin", "/.//admin"])
async def test_3_1_slashes_are_merged_before_a_path_is_judged(behind, target):
    server = await behind(listener(RbacAction.DENY, merge_slashes=True))
    assert await server.status(target) == 403
    assert server.seen == []


@pytest.mark.parametrize(
    "target", ["/x%2f..%2Fadmin", "/x%5c..%5Cadmin", "/%2Fadmin", "/%2e%2fadmin"]
)
async def test_3_1_escaped_slashes_are_decoded_before_a_path_is_judged(behind, target):
    action = PathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD
    decoding = {"merge_slashes": True, "path_with_escaped_slashes_action": action}
    server = await behind(listener(RbacAction.DENY, **decoding))
    assert await server.status(target) == 403
    assert server.seen == []


async def test_3_1_a_path_is_decoded_once(behind):
    action = PathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD
    server = await behind(listener(RbacAction.DENY, path_with_escaped_slashes_action=action))
    assert await server.status("/x%252f..%252fadmin") == 200
    assert server.seen[0][:2] == ("/{tail:.*}", "/x%252f..%252fadmin")


async def test_3_1_escaped_slashes_are_refused_where_the_listener_says_so(behind):
    action = PathWithEscapedSlashesAction.REJECT_REQUEST
    server = await behind(listener(RbacAction.DENY, path_with_escaped_slashes_action=action))
    assert await server.status("/open%2Fx") == 400
    assert await server.status("/open/x?y=%2F") == 200


async def test_3_1_escaped_slashes_are_redirected_where_the_listener_says_so(behind):
    action = PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT
    server = await behind(listener(RbacAction.DENY, path_with_escaped_slashes_action=action))
    text = await server.says(b"GET /open%2Fx?y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert text.startswith(b"HTTP/1.1 307 ")
    assert b"\r\nlocation: /open/x?y\r\n" in text.lower()
    assert server.seen == []


@pytest.mark.parametrize("target", ["/user@x", "/user%40x", "/%75ser%40x"])
async def test_3_1_what_routes_alike_is_judged_alike(behind, target):
    server = await behind(listener(RbacAction.DENY, UrlPath(Exact("/user@x"))))
    assert await server.status(target) == 403
    server.apply(listener(RbacAction.ALLOW, UrlPath(Exact("/user@x"))))
    assert await server.status(target) == 200
    assert server.seen[0][:2] == ("/user@x", "/user@x")


@pytest.mark.parametrize("target", ["/ADMIN", "/admin;a=1", "/admin/", "/admin%2f"])
async def test_3_1_what_is_another_path_is_not_routed_to_the_one_denied(server, target):
    assert await server.status(target) == 200
    assert server.seen[0][0] == "/{tail:.*}"


async def test_3_1_the_handler_is_that_of_the_path_which_was_judged(server):
    assert await server.status("/x/../open/./y?q=/../") == 200
    assert server.seen[0][:2] == ("/open/{tail:.*}", "/open/y?q=/../")


async def test_3_1_the_body_comes_with_a_request_that_was_routed_anew(server):
    head = (
        b"POST /x/../open/y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    )
    assert (await server.says(head + b"abc")).startswith(b"HTTP/1.1 200 ")
    assert server.bodies == [b"abc"]


@pytest.mark.parametrize("target", ["/admin#f", "/open/x#f", "/open/x?q#f"])
async def test_3_1_a_fragment_is_refused(server, target):
    assert await server.status(target) == 400
    assert server.seen == []


@pytest.mark.parametrize("target", ["/admin%00", "/open/%00", "/open/%0", "/open/%zz"])
async def test_3_1_a_nul_or_half_an_escape_is_refused(server, target):
    assert await server.status(target) == 400
    assert server.seen == []


# --- hosts ---


async def test_3_1_a_target_names_the_same_host_as_the_header(server):
    assert await server.status("http://evil.example/open/x") == 400
    assert await server.status("http://evil@good.example/open/x") == 400
    assert server.seen == []
    assert await server.status("http://good.example/open/x?q") == 200
    assert server.seen[0][1] == "/open/x?q"


@pytest.mark.parametrize(
    "host",
    [
        "a,b",
        "evil@good",
        "good/..",
        "a:80:80",
        "a:",
        "a:b",
        "a..b",
        "h\xe9",
        "a b",
        "a:99999",
        "[x",
    ],
)
async def test_3_1_what_is_no_host_is_refused(server, host):
    assert await server.status(host=host) == 400
    assert server.seen == []


@pytest.mark.parametrize("host", ["H.EXAMPLE.com.", "h.example.COM", "h.example.com."])
async def test_3_1_a_host_is_one_in_any_case_and_with_a_dot_at_its_end(behind, host):
    rule = HeaderRule(HeaderMatcher(name=":authority", match=Exact("h.example.com")))
    server = await behind(listener(RbacAction.DENY, rule))
    assert await server.status(host=host) == 403
    server.apply(listener(RbacAction.ALLOW, rule))
    assert await server.status(host=host) == 200
    assert server.headers["Host"] == "h.example.com"


async def test_3_1_two_hosts_or_none_are_refused(server):
    assert await server.status("/open/x", "Host: other") == 400
    assert await server.status(host=None) == 400
    assert server.seen == []


async def test_3_1_a_host_that_nobody_said_is_in_no_favour_of_the_caller(behind):
    rule = HeaderRule(HeaderMatcher(name=":authority", match=Exact("127.0.0.1")))
    server = await behind(listener(RbacAction.DENY, rule))
    assert await server.status(version="1.0", host=None) == 403
    server.apply(listener(RbacAction.ALLOW, rule))
    assert await server.status(version="1.0", host=None) == 403


# --- headers ---


async def test_3_1_two_authorizations_are_refused(server):
    twice = ("Authorization: Bearer a", "Authorization: Basic b")
    assert await server.status("/open/x", *twice) == 400
    assert await server.status("/open/x", twice[0], twice[0]) == 400
    assert await server.status("/open/x", twice[0]) == 200


@pytest.mark.parametrize("name", ["X_Forwarded_For", "Authorization_", "a_b"])
async def test_3_1_names_with_an_underscore_are_refused(server, name):
    assert await server.status("/open/x", f"{name}: 1") == 400
    assert server.seen == []


@pytest.mark.parametrize("method", ["get", "Get", "gET"])
async def test_3_1_methods_are_in_capitals(server, method):
    assert await server.status(method=method) == 400
    assert server.seen == []


@pytest.mark.parametrize("coding", ["identity, chunked", "identity", "gzip, chunked"])
async def test_3_1_no_coding_is_understood_but_chunks(server, coding):
    head = f"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n"
    answer = await server.says(f"{head}Connection: close\r\n\r\n0\r\n\r\n".encode())
    assert answer.split(b" ")[1] == b"400"
    assert server.seen == []


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 0x3\r\n",
        b"Content-Length: 1_0\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"X-A: a\rb\r\n",
        b"X-A: a\0b\r\n",
        b"X-A: a\r\n b\r\n",
        b"X-A : a\r\n",
    ],
)
async def test_3_1_what_could_be_framed_in_two_ways_is_refused(server, lines):
    head = b"POST /open/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    assert (await server.says(head + lines + b"\r\nabc")).split(b" ")[1] == b"400"
    assert server.seen == []


async def test_3_1_a_trailer_is_no_header(server):
    head = b"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    body = b"Connection: close\r\n\r\n1;ext=1\r\na\r\n0\r\nAuthorization: Bearer t\r\n\r\n"
    assert (await server.says(head + body)).startswith(b"HTTP/1.1 200 ")
    assert "Authorization" not in server.headers


INTERNAL = (
    "X-Forwarded-For: 10.0.0.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Client-Cert: By=spiffe://a;URI=spiffe://b",
    "X-Envoy-Original-Path: /other",
    "X-Envoy-Internal: true",
    "X-Envoy-External-Address: 10.0.0.1",
    "X-Meshlib-Peer: spiffe://b",
)


async def test_header_policy_what_only_a_gateway_may_say_is_taken_from_others(server):
    assert await server.status("/open/x", *INTERNAL, "X-Kept: 1") == 200
    assert {name for name in server.headers if name.startswith("X-")} == {"X-Kept"}


async def test_header_policy_what_nobody_judges_by_is_left_alone(behind):
    server = await behind(listener(None))
    assert await server.status("/open/x", *INTERNAL, "a_b: 1") == 200
    assert server.headers["X-Forwarded-For"] == "10.0.0.1"


async def test_header_policy_a_listed_gateway_says_for_whom_it_calls(behind, monkeypatch):
    peer = Peer(secure=True, spiffe_id=GATEWAY)
    came_by = [Connection(peer=peer)]
    monkeypatch.setattr(aiohttp_server, "_connection", lambda *_: came_by[0])
    rule = RemoteIp(CidrRange(address_prefix="203.0.113.7", prefix_len=32))
    server = await behind(listener(RbacAction.ALLOW, rule))
    said = "X-Forwarded-For: 198.51.100.1, 203.0.113.7"
    assert await server.status("/open/x", said) == 200
    assert server.headers["X-Forwarded-For"] == "198.51.100.1, 203.0.113.7"
    came_by[0] = Connection(peer=Peer(secure=True, spiffe_id="spiffe://mesh.example/ns/a/sa/b"))
    assert await server.status("/open/x", said) == 403
    came_by[0] = Connection()
    assert await server.status("/open/x", said) == 403


async def test_3_1_who_reads_requests_too_leniently_judges_none(behind, monkeypatch, caplog):
    """CVE-2026-111750, PYSEC-2026-4371: framing by aiohttp's pure Python parser."""
    monkeypatch.setattr(aiohttp_server, "PARSES_IN_C", False)
    monkeypatch.setattr(aiohttp_hooks, "PARSES_IN_C", False)
    server = await behind(listener(RbacAction.DENY))
    assert await server.status() == 503
    assert "C extension" in caplog.text
    server.apply(listener(None))
    assert await server.status() == 200


def test_3_1_requests_are_read_in_c_here():
    assert aiohttp_server.PARSES_IN_C


# --- handlers of their own accord ---


async def test_a_decorated_handler_is_found_by_the_path_that_is_judged(behind):
    server = Server(listener(None))

    @meshlib.rate_limit("1/h")
    async def once(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/once", once)
    app.middlewares.append(server.app.middlewares[0])
    server.app = app
    await server.start()
    try:
        statuses = [await server.status("/once"), await server.status("/x/../once")]
        assert statuses == [200, 429]
    finally:
        await server.stop()
