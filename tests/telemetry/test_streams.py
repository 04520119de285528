"""Streams are traced from their first message to their last."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from meshlib import Mesh
from meshlib.telemetry.tracing import Tracer

METHOD = "/bookinfo.Reviews/Get"
SHAPE = [
    ("Sent.bookinfo.Reviews/Get", None),
    ("Attempt.bookinfo.Reviews/Get", "Sent.bookinfo.Reviews/Get"),
    ("Recv.bookinfo.Reviews/Get", "Attempt.bookinfo.Reviews/Get"),
    ("work", "Recv.bookinfo.Reviews/Get"),
]


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


@pytest.fixture
def member(provider):
    def make(name, *config):
        mesh = Mesh(name, config=list(config))
        mesh._seen.propagation._tracing = Tracer(provider)
        return mesh

    return make


def shape(exporter):
    spans = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time)
    names = {span.context.span_id: span.name for span in spans}
    return [(s.name, None if s.parent is None else names.get(s.parent.span_id)) for s in spans]


def handlers(get):
    made = grpc.stream_stream_rpc_method_handler(get)
    return (grpc.method_handlers_generic_handler("bookinfo.Reviews", {"Get": made}),)


def test_a_stream_of_threads_is_traced_to_its_end(member, provider, exporter, reviews_at):
    own = provider.get_tracer("application")

    def get(requests, context):
        with own.start_as_current_span("work"):
            yield from requests

    with member("reviews") as served:
        server = grpc.server(ThreadPoolExecutor(2), interceptors=served.grpc.server_interceptors())
        server.add_generic_rpc_handlers(handlers(get))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with (
            member("productpage", reviews_at(port)) as mesh,
            mesh.grpc.channel("reviews:9080") as channel,
        ):
            call = channel.stream_stream(METHOD)(iter([b"1", b"2"]))
            assert list(call) == [b"1", b"2"]
        server.stop(None).wait()
    assert shape(exporter) == SHAPE
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_stream_of_asyncio_is_traced_to_its_end(member, provider, exporter, reviews_at):
    own = provider.get_tracer("application")

    async def get(requests, context):
        with own.start_as_current_span("work"):
            async for request in requests:
                yield request

    async with member("reviews") as served:
        server = grpc.aio.server(interceptors=served.grpc.aio_server_interceptors())
        server.add_generic_rpc_handlers(handlers(get))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with (
            member("productpage", reviews_at(port)) as mesh,
            mesh.grpc.aio_channel("reviews:9080") as channel,
        ):
            call = channel.stream_stream(METHOD)(iter([b"1", b"2"]))
            assert [message async for message in call] == [b"1", b"2"]
        await server.stop(None)
    assert shape(exporter) == SHAPE
    assert not trace.get_current_span().get_span_context().is_valid


def test_streams_that_go_on_are_counted_on_both_sides(member, reviews_at):
    def started(mesh, name):
        found = (metric for metric in mesh._seen.collect() if metric.name == name)
        return [sample.value for metric in found for sample in metric.samples]

    with member("reviews") as served:
        server = grpc.server(ThreadPoolExecutor(2), interceptors=served.grpc.server_interceptors())
        server.add_generic_rpc_handlers(handlers(lambda requests, _: requests))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with (
            member("productpage", reviews_at(port)) as mesh,
            mesh.grpc.channel("reviews:9080") as channel,
        ):
            ends = threading.Event()

            def sent():
                yield b"1"
                ends.wait()

            call = channel.stream_stream(METHOD)(sent())
            assert next(call) == b"1"
            counted = (mesh, "grpc.client.attempt.started"), (served, "grpc.server.call.started")
            assert [started(*one) for one in counted] == [[1], [1]]
            ends.set()
            assert not list(call)
            assert [started(*one) for one in counted] == [[1], [1]]
        server.stop(None).wait()
