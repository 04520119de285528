"""Parts of OpenTelemetry that a program brings along may raise: no call pays for it."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from aiohttp import web
from opentelemetry.sdk.trace import IdGenerator, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler

from meshlib import Mesh
from meshlib.dataplane import Meter, Request
from meshlib.telemetry import Propagation
from meshlib.telemetry.tracing import Tracer

METHOD = "/bookinfo.Reviews/Get"


class RaisingSampler(Sampler):
    def should_sample(self, *args, **kwargs):
        raise LookupError("no rule")

    def get_description(self):
        return "raises"


class SilentSampler(RaisingSampler):
    def should_sample(self, *args, **kwargs):
        return None


class RaisingIds(IdGenerator):
    def generate_span_id(self):
        raise LookupError("no ids left")

    generate_trace_id = generate_span_id


class WrongIds(IdGenerator):
    def generate_span_id(self):
        return "a3ce929d0e0e4736"

    generate_trace_id = generate_span_id


class RaisingStart(SpanProcessor):
    """``after``: so many spans begin well."""

    def __init__(self, after):
        self._left = after

    def on_start(self, span, parent_context=None):
        self._left -= 1
        if self._left < 0:
            raise LookupError("no room")


class RaisingEnd(SpanProcessor):
    def on_end(self, span):
        raise LookupError("no room")


def starts(after):
    provider = TracerProvider()
    provider.add_span_processor(RaisingStart(after))
    return provider


def ends():
    provider = TracerProvider()
    provider.add_span_processor(RaisingEnd())
    return provider


class RaisingProvider(TracerProvider):
    def get_tracer(self, *args, **kwargs):
        raise LookupError("no tracer")


BROKEN = {
    "a provider that has no tracer": RaisingProvider,
    "a sampler that raises": lambda: TracerProvider(sampler=RaisingSampler()),
    "a sampler that says nothing": lambda: TracerProvider(sampler=SilentSampler()),
    "ids that raise": lambda: TracerProvider(id_generator=RaisingIds()),
    "ids that are none": lambda: TracerProvider(id_generator=WrongIds()),
    "a processor that raises when spans begin": lambda: starts(0),
    "a processor that raises when attempts begin": lambda: starts(1),
    "a processor that raises when spans end": ends,
}


@pytest.fixture(params=BROKEN.values(), ids=BROKEN)
def broken(request):
    """A mesh is traced by what is broken."""

    def made(mesh):
        mesh._seen.propagation._tracing = Tracer(request.param())
        return mesh

    return made


def test_calls_by_grpc_are_answered(broken, reviews_at):
    reviews = broken(Mesh("reviews", config=[]))
    server = grpc.server(ThreadPoolExecutor(2), interceptors=reviews.grpc.server_interceptors())
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bookinfo.Reviews", {"Get": handler}),)
    )
    port = reviews.grpc.add_port(server, "127.0.0.1:0")
    server.start()
    with (
        broken(Mesh("productpage", config=[reviews_at(port)])) as page,
        page.grpc.channel("reviews:9080") as channel,
    ):
        call = channel.unary_unary(METHOD)
        assert [call(b"a"), call(b"b")] == [b"a", b"b"]
    server.stop(None).wait()
    reviews.close()


async def test_calls_by_aiohttp_are_answered(broken, reviews_at):
    async def get(request):
        return web.Response(text="here")

    reviews = broken(Mesh("reviews", config=[]))
    app = web.Application()
    app.router.add_get("/", get)
    reviews.aiohttp.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with (
        broken(Mesh("productpage", config=[reviews_at(port, "http")])) as page,
        page.aiohttp.session() as session,
    ):
        for _ in range(2):
            async with session.get("http://reviews:9080/") as answer:
                assert await answer.text() == "here"
    await runner.cleanup()
    await reviews.aclose()


def test_what_was_raised_is_logged_once(caplog):
    propagation = Propagation(tracing=Tracer(TracerProvider(sampler=RaisingSampler())))
    for _ in range(3):
        request = Request("reviews:9080", "POST", METHOD, is_grpc=True, meter=Meter())
        propagation.begin(request)
        assert request.meter.trace is None
    assert [record.exc_info[0] for record in caplog.records] == [LookupError]
