"""OpenTelemetry's instrumentors beside the mesh: each call is traced once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor
from opentelemetry.instrumentation.grpc import (
    GrpcAioInstrumentorClient,
    GrpcAioInstrumentorServer,
    GrpcInstrumentorClient,
    GrpcInstrumentorServer,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from meshlib import Mesh
from meshlib.telemetry.tracing import Tracer

METHOD = "/bookinfo.Reviews/Get"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def traced():
    """Where the spans of a test go, and what makes a member whose spans they are."""

    class Traced:
        def __init__(self):
            self.exporter = InMemorySpanExporter()
            self.provider = TracerProvider()
            self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

        def mesh(self, name, *config):
            made = Mesh(name, config=list(config))
            made._seen.propagation._tracing = Tracer(self.provider)
            return made

        @contextmanager
        def by(self, instrumentor):
            instrumentor.instrument(tracer_provider=self.provider)
            try:
                yield
            finally:
                instrumentor.uninstrument()

        @property
        def shape(self):
            """Of each span its name, and that of its parent; those that were made first, first."""
            spans = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time)
            names = {span.context.span_id: span.name for span in spans}
            return [
                (span.name, None if span.parent is None else names.get(span.parent.span_id, "?"))
                for span in spans
            ]

        def of(self, kind):
            return [s for s in self.exporter.get_finished_spans() if s.kind is kind]

    return Traced()


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Their metrics are none of our business."""
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")


def handlers(behaviour):
    get = grpc.unary_unary_rpc_method_handler(behaviour)
    return (grpc.method_handlers_generic_handler("bookinfo.Reviews", {"Get": get}),)


@contextmanager
def sync_server(interceptors=()):
    server = grpc.server(ThreadPoolExecutor(2), interceptors=interceptors)
    server.add_generic_rpc_handlers(handlers(lambda request, context: request))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@asynccontextmanager
async def aio_server(interceptors=()):
    async def get(request, context):
        return request

    server = grpc.aio.server(interceptors=interceptors)
    server.add_generic_rpc_handlers(handlers(get))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def aiohttp_server(setup=lambda app: None):
    async def get(request):
        return web.Response(text="fine")

    app = web.Application()
    app.router.add_get("/reviews/{id}", get)
    setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


SENT = [
    ("Sent.bookinfo.Reviews/Get", None),
    ("Attempt.bookinfo.Reviews/Get", "Sent.bookinfo.Reviews/Get"),
]


def test_calls_of_a_sync_channel_of_the_mesh_are_traced_once(traced, reviews_at):
    with (
        traced.by(GrpcInstrumentorClient()),
        sync_server() as port,
        traced.mesh("productpage", reviews_at(port, "grpc")) as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
    ):
        assert channel.unary_unary(METHOD)(b"book") == b"book"
    assert traced.shape == SENT


async def test_calls_of_an_aio_channel_of_the_mesh_are_traced_once(traced, reviews_at):
    async with aio_server() as port:
        with traced.by(GrpcAioInstrumentorClient()):
            async with (
                traced.mesh("productpage", reviews_at(port, "grpc")) as mesh,
                mesh.grpc.aio_channel("reviews:9080") as channel,
            ):
                assert await channel.unary_unary(METHOD)(b"book") == b"book"
    assert traced.shape == SENT


async def test_calls_of_an_aiohttp_session_are_traced_once(traced, reviews_at):
    async with aiohttp_server() as port:
        with traced.by(AioHttpClientInstrumentor()):
            async with (
                traced.mesh("productpage", reviews_at(port, "http")) as mesh,
                mesh.aiohttp.session() as session,
                session.get("http://reviews:9080/reviews/1") as answer,
            ):
                assert await answer.text() == "fine"
    assert traced.shape == [("GET", None)]
    (span,) = traced.of(SpanKind.CLIENT)
    assert span.attributes["upstream_cluster.name"].endswith("reviews.default.svc.cluster.local")


def test_what_a_sync_server_serves_is_traced_once(traced):
    with (
        traced.mesh("reviews") as mesh,
        traced.by(GrpcInstrumentorServer()),
        sync_server(mesh.grpc.server_interceptors()) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        assert channel.unary_unary(METHOD)(b"", metadata=(("traceparent", PARENT),)) == b""
    (span,) = traced.of(SpanKind.SERVER)
    assert span.context.trace_id == int(PARENT[3:35], 16)
    assert span.attributes["response_flags"] == "-"


async def test_what_an_aio_server_serves_is_traced_once(traced):
    async with traced.mesh("reviews") as mesh:
        with traced.by(GrpcAioInstrumentorServer()):
            async with (
                aio_server(mesh.grpc.aio_server_interceptors()) as port,
                grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
            ):
                asked = channel.unary_unary(METHOD)(b"", metadata=(("traceparent", PARENT),))
                assert await asked == b""
    (span,) = traced.of(SpanKind.SERVER)
    assert span.context.trace_id == int(PARENT[3:35], 16)


@pytest.mark.filterwarnings("ignore:Inheritance class _InstrumentedApplication")
async def test_what_an_aiohttp_server_serves_is_traced_once(traced):
    with traced.by(AioHttpServerInstrumentor()):
        async with (
            traced.mesh("reviews") as mesh,
            aiohttp_server(mesh.aiohttp.setup) as port,
            aiohttp.ClientSession() as session,
            session.get(
                f"http://127.0.0.1:{port}/reviews/1", headers={"traceparent": PARENT}
            ) as answer,
        ):
            assert answer.status == 200
        await asyncio.sleep(0)
    (span,) = traced.of(SpanKind.SERVER)
    assert span.context.trace_id == int(PARENT[3:35], 16)
    assert span.attributes["response_flags"] == "-"
