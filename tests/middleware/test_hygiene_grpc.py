"""What hostile callers send to gRPC's servers, frame by frame, and what becomes of it."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent import futures
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import h2.connection
import h2.events
import pytest
from h2.config import H2Configuration

from meshlib.dataplane import CallEnded, Engine, Options
from meshlib.dataplane.filters.chain import FACTORIES
from meshlib.middleware._drive import Runtime
from meshlib.middleware.grpc import GrpcHooks
from meshlib.model import (
    ROUTER,
    Exact,
    Fault,
    HeaderMatcher,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    NonForwardingAction,
    Route,
    RouteConfiguration,
    VirtualHost,
    gather,
)
from meshlib.model.rbac import (
    AnyRule,
    HeaderRule,
    Policy,
    Rbac,
    RbacAction,
    RbacRules,
    Rule,
    UrlPath,
)

SECRET = UrlPath(Exact("/test.Service/Secret"))
KINDS = {"Unary": (False, False), "Down": (False, True), "Up": (True, False), "Both": (True, True)}


def listener(action: RbacAction, rule: Rule, *more: HttpFilter) -> Listener:
    policy = Policy(name="p", permissions=(rule,), principals=(AnyRule(),))
    rbac = HttpFilter(name="rbac", config=Rbac(rules=RbacRules(action=action, policies=(policy,))))
    served = Route(name="all", action=NonForwardingAction())
    table = RouteConfiguration(
        name="t", virtual_hosts=(VirtualHost(name="v", domains=("*",), routes=(served,)),)
    )
    http = HttpConnectionManager(routes=table, http_filters=(rbac, *more, ROUTER))
    return Listener(name="inbound", http=http)


class Service(grpc.GenericRpcHandler):
    """Handlers of any path, which is more than servers have; it notes what reaches them."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def read_message(self, message: bytes) -> bytearray:
        self.read.append(message)
        if message == b"unreadable":
            raise ValueError(message)
        return bytearray(message)

    def note(self, path: str, context: Any) -> None:
        self.calls.append((path, dict(context.invocation_metadata())))

    def service(self, details: Any) -> Any:
        path = details.method
        up, down = KINDS.get(path.rpartition("/")[2], (False, False))
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[up, down]
        behaviour = self.behaviour(path, up=up, down=down)
        return make(behaviour, self.read_message, bytes)

    def behaviour(self, path: str, *, up: bool, down: bool) -> Callable[[Any, Any], Any]:
        def one(request: Any, context: Any) -> bytearray:
            self.note(path, context)
            return bytearray().join(request) if up else request

        def several(request: Any, context: Any) -> Any:
            self.note(path, context)
            yield from (request if up else [request])

        return several if down else one


class AioService(Service):
    def behaviour(self, path: str, *, up: bool, down: bool) -> Callable[[Any, Any], Any]:
        async def one(request: Any, context: Any) -> bytearray:
            self.note(path, context)
            return bytearray().join([each async for each in request]) if up else request

        async def several(request: Any, context: Any) -> AsyncIterator[bytearray]:
            self.note(path, context)
            if up:
                async for each in request:
                    yield each
            else:
                yield request

        return several if down else one


UNWRITTEN = 13, "Internal error from Core"


class World:
    """A server of either kind behind the mesh."""

    def __init__(self) -> None:
        self.ended: list[CallEnded] = []
        self.engine = Engine(
            clock=time.monotonic,
            dice=random.Random(7).random,
            observe=lambda event: self.ended.append(event) if type(event) is CallEnded else None,
            options=Options(complete=True),
        )
        runtime = Runtime(self.engine, clock=time.monotonic, sleep=time.sleep)
        self.hooks = GrpcHooks(runtime)
        self.service: Service = Service()
        self.port = 0

    def apply(self, *listeners: Listener) -> None:
        self.engine.apply(gather(listeners=listeners))

    async def call(self, path: str, message: bytes = b"x", metadata: Any = ()) -> tuple[int, str]:
        """Status and words, or the answer, of a call by a plain client.

        A stream whose end comes while that client writes has no other answer for it than its own.
        """
        for _ in range(20):
            answer = await self._call(path, message, metadata)
            if answer != UNWRITTEN:
                break
        return answer

    async def _call(self, path: str, message: bytes, metadata: Any) -> tuple[int, str]:
        up, down = KINDS.get(path.rpartition("/")[2], (False, False))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            kind = f"{'stream' if up else 'unary'}_{'stream' if down else 'unary'}"
            made = getattr(channel, kind)(path)(
                iter([message]) if up else message, metadata=metadata
            )
            try:
                if down:
                    return 0, b"".join([each async for each in made]).decode()
                return 0, (await made).decode()
            except grpc.aio.AioRpcError as error:
                return error.code().value[0], error.details() or ""

    async def raw(self, *headers: tuple[str, str], path: str = "/test.Service/Unary") -> str:
        """The grpc-status, or what else became of it, by headers that no client of gRPC's sends."""
        return await asyncio.to_thread(self._raw, headers, path)

    def _raw(self, more: tuple[tuple[str, str], ...], path: str) -> str:
        loose = H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        connection = h2.connection.H2Connection(loose)
        connection.initiate_connection()
        given = {name for name, _ in more}
        usual = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "good.example"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        )
        headers = [pair for pair in usual if pair[0] not in given or pair[0] == ":authority"]
        pseudo = [pair for pair in more if pair[0][0] == ":"]
        rest = [pair for pair in more if pair[0][0] != ":"]
        headers[4:4] = pseudo
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            connection.send_headers(1, [*headers, *rest])
            connection.send_data(1, b"\0\0\0\0\x01x", end_stream=True)
            sock.sendall(connection.data_to_send())
            while received := sock.recv(65536):
                for event in connection.receive_data(received):
                    match event:
                        case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                            found = dict(event.headers)
                            if b"grpc-status" in found:
                                return found[b"grpc-status"].decode()
                            if found.get(b":status", b"200") != b"200":
                                return f"HTTP {found[b':status'].decode()}"
                        case h2.events.StreamReset():
                            return "reset"
                        case h2.events.ConnectionTerminated():
                            return "closed"
                sock.sendall(connection.data_to_send())
        return "closed"


@pytest.fixture(params=["sync", "aio"])
async def world(request):
    made = World()
    if request.param == "sync":
        server = grpc.server(
            futures.ThreadPoolExecutor(4), interceptors=made.hooks.server_interceptors()
        )
        server.add_generic_rpc_handlers((made.service,))
        made.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield made
        await asyncio.to_thread(server.stop(None).wait)
    else:
        made.service = AioService()
        aio = grpc.aio.server(interceptors=made.hooks.aio_server_interceptors())
        aio.add_generic_rpc_handlers((made.service,))
        made.port = aio.add_insecure_port("127.0.0.1:0")
        await aio.start()
        yield made
        await aio.stop(None)


def guarded(world: World) -> World:
    world.apply(listener(RbacAction.DENY, SECRET))
    return world


# --- who is refused runs nothing ---


@pytest.mark.parametrize("kind", KINDS)
async def test_3_2_a_denied_call_is_not_even_read(world, kind):
    world.apply(listener(RbacAction.DENY, AnyRule()))
    assert await world.call(f"/test.Service/{kind}") == (7, "RBAC: access denied")
    assert (world.service.read, world.service.calls) == ([], [])


@pytest.mark.parametrize("kind", KINDS)
async def test_3_2_an_admitted_call_is_read_once_and_served(world, kind):
    world.apply(listener(RbacAction.ALLOW, AnyRule()))
    assert await world.call(f"/test.Service/{kind}") == (0, "x")
    assert world.service.read == [b"x"]


@pytest.mark.parametrize("kind", ["Unary", "Down"])
async def test_a_message_that_cannot_be_read_reaches_no_handler(world, kind):
    """As grpcio's own servers have it: UNKNOWN or INTERNAL."""
    status, _ = await world.call(f"/test.Service/{kind}", b"unreadable")
    assert status in (2, 13)
    assert world.service.calls == []
    assert world.ended[-1].outcome.grpc_status in (2, 13)


# --- paths ---


@pytest.mark.parametrize(
    "path",
    [
        "test.Service/Secret",
        "//test.Service/Secret",
        "/test.Service//Secret",
        "/test.Service/Secret/",
        "/test.Service/Secret?x",
        "/test.Service/Secret#x",
        "/Secret",
        "/",
        "/test.Service/",
        "//Secret",
        "/a/../test.Service/Secret",
    ],
)
async def test_3_2_a_path_is_that_of_a_service_and_a_method(world, path):
    """CVE-2026-33186: grpc-go let calls without the first slash past its policies."""
    assert await guarded(world).raw(path=path) == "12"
    assert world.service.calls == []


@pytest.mark.parametrize("path", ["/test.Service/%53ecret", "/test.Service/secret", "/./Secret"])
async def test_3_2_another_spelling_is_another_method_or_none(world, path):
    world.apply(listener(RbacAction.DENY, SECRET))
    tidying = listener(RbacAction.DENY, SECRET)
    http = replace(tidying.http, normalize_path=True, merge_slashes=True)
    before = await world.raw(path=path)
    assert before == "0"
    assert world.service.calls.pop()[0] == path
    world.apply(replace(tidying, http=http))
    assert await world.raw(path=path) in ("7", "12") if path != "/test.Service/secret" else "0"
    assert [seen for seen, _ in world.service.calls] in ([], ["/test.Service/secret"])


async def test_3_2_of_two_paths_the_policy_judges_the_one_that_is_served(world):
    guarded(world)
    twice = (":path", "/test.Service/Open"), (":path", "/test.Service/Secret")
    await world.raw(*twice)
    assert "/test.Service/Secret" not in [path for path, _ in world.service.calls]
    await world.raw(*reversed(twice))
    assert "/test.Service/Secret" not in [path for path, _ in world.service.calls]


# --- hosts ---


async def test_3_2_two_authorities_have_no_effect(world):
    guarded(world)
    assert await world.raw((":authority", "evil.example")) != "0"
    assert (world.service.calls, world.service.read) == ([], [])


async def test_3_2_a_host_among_the_metadata_is_for_nobody(world):
    """gRFC A41 has it discarded."""
    rule = HeaderRule(HeaderMatcher(name="host", match=Exact("evil.example")))
    guarded(world)
    assert await world.raw(("host", "evil.example"), ("x-kept", "1")) == "0"
    assert "host" not in world.service.calls[0][1]
    assert world.service.calls[0][1]["x-kept"] == "1"
    world.apply(listener(RbacAction.ALLOW, rule))
    assert await world.raw(("host", "evil.example")) == "7"


@pytest.mark.parametrize("name", [":authority", "host"])
@pytest.mark.parametrize("action", RbacAction)
async def test_3_2_a_rule_of_hosts_lets_nobody_in_as_the_host_is_not_known(world, name, action):
    rule = HeaderRule(HeaderMatcher(name=name, match=Exact("good.example")))
    world.apply(listener(action, rule))
    assert await world.raw() == ("0" if action is RbacAction.LOG else "7")


# --- metadata ---


@pytest.mark.parametrize("name", ["X-Upper", "connection", "keep-alive"])
async def test_3_2_a_name_that_http2_forbids_reaches_nobody(world, name):
    guarded(world)
    await world.raw((name, "a"))
    assert all(name.lower() not in metadata for _, metadata in world.service.calls)


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\0b", "a\x1b[31m", "é", "a\tb"])
async def test_3_2_a_value_is_printable(world, value):
    assert await guarded(world).raw(("x-a", value)) != "0"
    assert world.service.calls == []


async def test_3_2_two_authorizations_are_refused(world):
    one = ("authorization", "Bearer a")
    assert await guarded(world).raw(one, one) == "16"
    assert await world.raw(one, ("authorization", "Bearer b")) == "16"
    assert world.service.calls == []
    assert await world.raw(one) == "0"


async def test_3_2_what_only_a_gateway_may_say_is_taken_from_others(world):
    guarded(world)
    said = ("x-forwarded-client-cert", "x-envoy-original-path", "x-forwarded-for", "x-meshlib-a")
    assert await world.raw(*((name, "1") for name in said), ("x-kept-bin", "AQ")) == "0"
    _, metadata = world.service.calls[0]
    assert not metadata.keys() & set(said)
    assert metadata["x-kept-bin"] == b"\x01"


async def test_3_2_a_content_type_is_that_of_grpc_or_speaks_against_the_caller(world):
    """grpcio serves any and shows none: no rule lets anybody in by it, and one denies by it."""
    rule = HeaderRule(HeaderMatcher(name="content-type", match=Exact("application/grpc")))
    world.apply(listener(RbacAction.ALLOW, rule))
    assert await world.raw(("content-type", "text/plain")) != "0"
    world.apply(listener(RbacAction.DENY, rule))
    assert await world.raw(("content-type", "text/plain")) != "0"
    assert world.service.calls == []


@pytest.mark.parametrize(
    "metadata",
    [
        [(f"x-{number}", "a") for number in range(150)],
        [("x-a", "a" * 20_000)],
        [("x-a-bin", "QUFB" * 6_000)],
        [("x-a", "a" * 100_000)],
    ],
)
async def test_3_2_metadata_has_a_limit_though_settings_were_never_acknowledged(world, metadata):
    """CVE-2019-15226, CVE-2026-47774: many small headers, and large ones."""
    assert await guarded(world).raw(*metadata) in ("8", "reset", "closed")
    assert world.service.calls == []


async def test_cve_2023_44487_calls_that_are_reset_at_once_leave_nothing_behind(world):
    """Rapid reset, also CVE-2023-35945 and CVE-2021-32778."""
    guarded(world)
    await asyncio.to_thread(reset_many, world.port, 90)
    assert await world.call("/test.Service/Unary") == (0, "x")
    assert sum(type(event.outcome).__name__ == "Response" for event in world.ended) >= 1


def reset_many(port: int, calls: int) -> None:
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        for stream in range(1, 2 * calls, 2):
            connection.send_headers(
                stream,
                [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", "/test.Service/Both"),
                    (":authority", "a"),
                    ("te", "trailers"),
                    ("content-type", "application/grpc"),
                ],
            )
            connection.reset_stream(stream)
        sock.sendall(connection.data_to_send())
        sock.recv(65536)


# --- no side effects, and changed metadata ---


async def test_3_2_what_the_library_refuses_leaves_no_trace(world):
    """Interceptors run even for what gRPC core refuses later."""
    guarded(world)
    await world.raw((":authority", "evil.example"), ("X-Upper", "1"))
    assert await world.call("/test.Service/Unary") == (0, "x")
    assert len(world.service.calls) == 1
    assert sum(type(event.outcome).__name__ == "Response" for event in world.ended) == 1


class Claims:
    """A filter that tells the handler who calls."""

    def __call__(self, request, record, service):
        headers = [pair for pair in request.headers if pair[0] != "authorization"]
        headers.append(("x-claim", "alice"))
        return service(
            request.altered(path=request.path, authority=request.authority, headers=tuple(headers)),
            record,
        )


@pytest.mark.parametrize("kind", KINDS)
async def test_handlers_of_every_kind_see_the_metadata_that_filters_made(world, kind, monkeypatch):
    monkeypatch.setitem(FACTORIES, Fault, lambda _config, _site: Claims())
    claims = HttpFilter(name="claims", config=Fault())
    world.apply(listener(RbacAction.DENY, SECRET, claims))
    said = (("authorization", "Bearer t"), ("x-kept-bin", b"\x01"))
    assert await world.call(f"/test.Service/{kind}", metadata=said) == (0, "x")
    _, metadata = world.service.calls[0]
    assert "authorization" not in metadata
    assert (metadata["x-claim"], metadata["x-kept-bin"]) == ("alice", b"\x01")
