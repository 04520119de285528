"""Real calls through a member that serves and calls: what comes in goes out, whatever it is."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web

from meshlib import Mesh
from meshlib.telemetry import census

METHOD = "/bookinfo.Reviews/Get"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def asked():
    """What the last one of the chain was asked with."""
    return []


@pytest.fixture
def reviews(asked, reviews_at):
    """A server outside of the mesh, at the end of the chain; its manifest."""

    def get(request, context):
        asked.append({one.key: one.value for one in context.invocation_metadata()})
        return request

    with server(get) as port:
        yield reviews_at(port)


@contextmanager
def server(behaviour, interceptors=()):
    made = grpc.server(ThreadPoolExecutor(4), interceptors=interceptors)
    handler = grpc.unary_unary_rpc_method_handler(behaviour)
    made.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bookinfo.Reviews", {"Get": handler}),)
    )
    port = made.add_insecure_port("127.0.0.1:0")
    made.start()
    try:
        yield port
    finally:
        made.stop(None).wait()


@pytest.fixture
def through_grpc(reviews):
    """Calls a sync member with this metadata; it calls reviews from a thread of its own."""
    with (
        Mesh("productpage", config=[reviews], propagate=["x-tenant"]) as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
        ThreadPoolExecutor(1) as pool,
    ):
        call = channel.unary_unary(METHOD)

        def get(request, context):
            return pool.submit(call, request).result()

        with (
            server(get, mesh.grpc.server_interceptors()) as port,
            grpc.insecure_channel(f"127.0.0.1:{port}") as outside,
        ):
            yield lambda metadata: outside.unary_unary(METHOD)(b"", metadata=metadata, timeout=20)


@pytest.fixture
async def through_aiohttp(reviews):
    """Calls an aiohttp member with these headers; it calls reviews from a task of its own."""
    async with (
        Mesh("productpage", config=[reviews], propagate=["x-tenant"]) as mesh,
        mesh.grpc.aio_channel("reviews:9080") as channel,
    ):
        call = channel.unary_unary(METHOD)

        async def get(request):
            await asyncio.create_task(_awaited(call(b"")))
            return web.Response()

        app = web.Application()
        app.router.add_get("/", get)
        mesh.aiohttp.setup(app)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"

        async def ask(headers):
            async with (
                aiohttp.ClientSession() as session,
                session.get(url, headers=headers) as answer,
            ):
                return answer.status

        yield ask
        await runner.cleanup()


async def _awaited(call):
    return await call


async def test_what_is_text_over_http_is_binary_over_grpc(through_aiohttp, asked):
    text = census.write(int(TRACE, 16), 0xB7AD6B7169203331, sampled=True)[0][1]
    headers = (("grpc-trace-bin", text), ("x-cloud-trace-context", "105/1;o=1"))
    assert await through_aiohttp(headers) == 200
    (last,) = asked
    assert last["x-cloud-trace-context"] == "105/1;o=1"
    assert last["x-request-id"]


WILD = [
    (("traceparent", "garbage"), ("traceparent", PARENT)),
    (("traceparent", PARENT), ("tracestate", ",".join(f"k{n}=v" for n in range(40)))),
    (("b3", ""), ("x-b3-traceid", "xyz"), ("x-b3-sampled", "maybe")),
    (("baggage", "=,;,a=1,b==2,c d=3"), ("baggage", "e=5")),
    (("baggage", "a=" + "x" * 5000), ("x-tenant", "y" * 2500)),
    (("x-request-id", "r" * 3000), ("sw8", "1-" * 1500)),
    (("grpc-trace-bin", b"\0" * 29), ("x-datadog-trace-id", "7")),
]


@pytest.mark.parametrize("headers", WILD)
def test_no_header_breaks_a_call_of_grpc(through_grpc, asked, headers):
    assert through_grpc(headers) == b""
    _judge(asked, headers)


@pytest.mark.parametrize("headers", WILD[:-1])
async def test_no_header_breaks_a_call_of_aiohttp(through_aiohttp, asked, headers):
    assert await through_aiohttp(headers) == 200
    _judge(asked, headers)


def _judge(asked, headers):
    (last,) = asked
    if [value for name, value in headers if name == "traceparent"] == [PARENT]:
        assert last["traceparent"].split("-")[1] == TRACE
    else:
        assert "traceparent" not in last or last["traceparent"].split("-")[1] != "garbage"
    assert last.keys().isdisjoint({"b3", "x-b3-traceid", "x-b3-sampled", "tracestate"})
    assert "grpc-trace-bin" not in last
    if "baggage" in last and "e=5" in last["baggage"]:
        assert last["baggage"] == "a=1,b==2,e=5"


async def test_a_tab_that_http_lets_in_breaks_no_call_by_grpc(through_aiohttp, asked):
    headers = (("x-request-id", "a\tb"), ("baggage", "a\t=1,\tb=2"), ("x-tenant", "\tacme\t1"))
    assert await through_aiohttp(headers) == 200
    (last,) = asked
    assert (last["x-request-id"], last["x-tenant"]) == ("a b", "acme 1")
