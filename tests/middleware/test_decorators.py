from concurrent import futures

import grpc
import grpc.aio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import meshlib
from meshlib.model import (
    Fault,
    FaultAbort,
    FaultDelay,
    LocalRateLimit,
    Percentage,
    TokenBucket,
)

ALL = Percentage(numerator=1_000_000, denominator=1_000_000)
MESH = web.AppKey("mesh", meshlib.Mesh)


def marks(handler) -> list[object]:
    return [mark.config for mark in handler.__meshlib_filters__]


def test_a_mark_changes_nothing_of_the_handler() -> None:
    def handler(number: int) -> int:
        return number + 1

    assert meshlib.rate_limit("1/s")(handler) is handler
    assert handler(1) == 2


@pytest.mark.parametrize(
    ("rate", "burst", "bucket"),
    [
        ("100/s", None, TokenBucket(max_tokens=100, tokens_per_fill=100, fill_interval=1.0)),
        ("5/m", 2, TokenBucket(max_tokens=2, tokens_per_fill=5, fill_interval=60.0)),
        ("1/h", None, TokenBucket(max_tokens=1, tokens_per_fill=1, fill_interval=3600.0)),
        ("9/d", None, TokenBucket(max_tokens=9, tokens_per_fill=9, fill_interval=86400.0)),
    ],
)
def test_a_rate_is_a_bucket(rate, burst, bucket) -> None:
    @meshlib.rate_limit(rate, burst=burst)
    def handler() -> None: ...

    (config,) = marks(handler)
    assert isinstance(config, LocalRateLimit)
    assert config.token_bucket == bucket


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"rate": "100"}, "such as '100/s'"),
        ({"rate": "0/s"}, "at least 1"),
        ({"rate": "1/y"}, "s, m, h or d"),
        ({"rate": "-1/s"}, "such as '100/s'"),
        ({"rate": "1/s", "burst": 0}, "burst must be at least 1"),
        ({"rate": "1/s", "burst": 1.5}, "burst must be at least 1"),
        ({"rate": "1/s", "key": "user"}, "'header:x-user' or 'peer'"),
        ({"rate": "1/s", "key": "header:"}, "'header:x-user' or 'peer'"),
    ],
)
def test_what_is_no_rate_is_refused(wrong, named) -> None:
    with pytest.raises(ValueError, match=named):
        meshlib.rate_limit(**wrong)


@pytest.mark.parametrize(("delay", "seconds"), [("100ms", 0.1), ("1.5s", 1.5), ("1m", 60), (2, 2)])
def test_a_delay_is_seconds_or_says_its_unit(delay, seconds) -> None:
    @meshlib.fault(delay=delay)
    def handler() -> None: ...

    assert marks(handler) == [Fault(delay=FaultDelay(fixed_delay=seconds, percentage=ALL))]


@pytest.mark.parametrize(
    ("abort", "config"),
    [
        (503, FaultAbort(http_status=503, percentage=ALL)),
        (grpc.StatusCode.NOT_FOUND, FaultAbort(grpc_status=5, percentage=ALL)),
    ],
)
def test_an_abort_is_a_status_of_either_kind(abort, config) -> None:
    @meshlib.fault(abort=abort)
    def handler() -> None: ...

    assert marks(handler) == [Fault(abort=config)]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "a delay, an abort, or both"),
        ({"delay": "fast"}, "such as '100ms'"),
        ({"delay": -1}, "less than 0"),
        ({"delay": float("nan")}, "less than 0"),
        ({"abort": 99}, "200 to 599"),
        ({"abort": "UNAVAILABLE"}, "grpc.StatusCode"),
        ({"abort": 503, "percent": 101}, "from 0 to 100"),
    ],
)
def test_what_is_no_fault_is_refused(wrong, named) -> None:
    with pytest.raises(ValueError, match=named):
        meshlib.fault(**wrong)


def test_what_cannot_be_marked_is_refused() -> None:
    class Service:
        __slots__ = ()

    with pytest.raises(TypeError, match="can be marked"):
        meshlib.fault(abort=503)(Service())


def test_the_outermost_mark_comes_first() -> None:
    @meshlib.fault(delay=1)
    @meshlib.rate_limit("1/s")
    def handler() -> None: ...

    assert [type(config) for config in marks(handler)] == [Fault, LocalRateLimit]


@pytest.fixture
async def shop():
    """An aiohttp application of the mesh with marked handlers, and its client."""

    @meshlib.rate_limit("1/h")
    async def scarce(request: web.Request) -> web.Response:
        return web.Response(text="scarce")

    @meshlib.rate_limit("1/h")
    async def other(request: web.Request) -> web.Response:
        return web.Response(text="other")

    @meshlib.rate_limit("1/h", key="header:X-User")
    async def each(request: web.Request) -> web.Response:
        return web.Response(text="each")

    @meshlib.rate_limit("1/h", key="peer")
    async def peers(request: web.Request) -> web.Response:
        return web.Response(text="peers")

    @meshlib.fault(abort=418)
    async def teapot(request: web.Request) -> web.Response:
        raise AssertionError("never reached")

    @meshlib.rate_limit("3/h")
    class Page(web.View):
        @meshlib.rate_limit("1/h")
        async def post(self) -> web.Response:
            return web.Response(text="post")

        async def get(self) -> web.Response:
            return web.Response(text="get")

    app = web.Application()
    for handler in (scarce, other, each, peers, teapot):
        app.router.add_get(f"/{handler.__name__}", handler)
    app.router.add_view("/page", Page)
    mesh = meshlib.Mesh("shop", config=[])
    mesh.aiohttp.setup(app)
    app[MESH] = mesh
    async with mesh, TestClient(TestServer(app)) as client:
        yield client


async def test_a_web_handler_answers_no_more_calls_than_its_rate(shop) -> None:
    first, second = await shop.get("/scarce"), await shop.get("/scarce")
    assert (first.status, second.status) == (200, 429)
    assert await second.text() == "local_rate_limited"
    assert int(second.headers["retry-after"]) > 3500
    assert (await shop.get("/other")).status == 200


@pytest.mark.parametrize("path", ["/each", "/peers"])
async def test_callers_are_told_apart(shop, path) -> None:
    callers = ("jason", "anna", "jason")
    answers = [await shop.get(path, headers={"x-user": caller}) for caller in callers]
    expected = [200, 200, 429] if path == "/each" else [200, 429, 429]
    assert [answer.status for answer in answers] == expected


async def test_a_view_and_its_methods_have_marks_of_their_own(shop) -> None:
    answers = [await shop.request(method, "/page") for method in ("POST", "POST", "GET", "GET")]
    assert [answer.status for answer in answers] == [200, 429, 200, 429]


async def test_the_marks_of_a_view_are_known_again_with_every_call(shop) -> None:
    for _ in range(5):
        await shop.post("/page")
        await shop.get("/page")
        await shop.request("ODD", "/page")
    assert len(shop.server.app[MESH]._engine._inbound._decorations) == 2


async def test_a_web_handler_fails_on_purpose(shop) -> None:
    answer = await shop.get("/teapot")
    assert (answer.status, await answer.text()) == (418, "fault filter abort")


class Servicer:
    @meshlib.rate_limit("1/h")
    def unary(self, request: bytes, context) -> bytes:
        return request

    @meshlib.fault(abort=grpc.StatusCode.DATA_LOSS)
    def stream(self, request: bytes, context):
        yield request


class AioServicer:
    @meshlib.rate_limit("1/h")
    async def unary(self, request: bytes, context) -> bytes:
        return request

    @meshlib.fault(abort=grpc.StatusCode.DATA_LOSS)
    async def stream(self, request: bytes, context):
        yield request


def handlers(servicer) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        "shop.Shop",
        {
            "Unary": grpc.unary_unary_rpc_method_handler(servicer.unary),
            "Stream": grpc.unary_stream_rpc_method_handler(servicer.stream),
        },
    )


def test_a_synchronous_grpc_handler_is_limited_and_fails_on_purpose() -> None:
    mesh = meshlib.Mesh("shop", config=[])
    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, interceptors=mesh.grpc.server_interceptors())
        server.add_generic_rpc_handlers((handlers(Servicer()),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with mesh, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/shop.Shop/Unary")
            assert call(b"x", timeout=10) == b"x"
            with pytest.raises(grpc.RpcError) as limited:
                call(b"x", timeout=10)
            with pytest.raises(grpc.RpcError) as failed:
                list(channel.unary_stream("/shop.Shop/Stream")(b"x", timeout=10))
        server.stop(None).wait()
    assert limited.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ("x-envoy-ratelimited", "true") in limited.value.trailing_metadata()
    assert failed.value.code() is grpc.StatusCode.DATA_LOSS


async def test_an_asyncio_grpc_handler_is_limited_and_fails_on_purpose() -> None:
    mesh = meshlib.Mesh("shop", config=[])
    server = grpc.aio.server(interceptors=mesh.grpc.aio_server_interceptors())
    server.add_generic_rpc_handlers((handlers(AioServicer()),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with mesh, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/shop.Shop/Unary")
        assert await call(b"x", timeout=10) == b"x"
        with pytest.raises(grpc.RpcError) as limited:
            await call(b"x", timeout=10)
        with pytest.raises(grpc.RpcError) as failed:
            async for _ in channel.unary_stream("/shop.Shop/Stream")(b"x", timeout=10):
                pass
    await server.stop(None)
    assert limited.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert limited.value.trailing_metadata().get("x-envoy-ratelimited") == "true"
    assert failed.value.code() is grpc.StatusCode.DATA_LOSS
