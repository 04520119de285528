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


def messages(exporter):
    """What the spans tell of messages, and nothing else, by the first word of their names."""
    told = {}
    for span in exporter.get_finished_spans():
        found = [
            (event.name, event.attributes["sequence-number"], event.attributes["message-size"])
            for event in span.events
            if "message" in event.name
        ]
        began, ended = span.start_time - SLACK, span.end_time + SLACK
        assert all(began <= event.timestamp <= ended for event in span.events)
        if found:
            told[span.name.partition(".")[0]] = sorted(found)
    return told


SLACK = 10**9
"""Nanoseconds: two clocks are read one after the other, by threads that may have to wait."""
OUT, IN = "Outbound message", "Inbound message"
BOTH = {
    "Attempt": [(IN, 0, 1), (IN, 1, 22), (OUT, 0, 1), (OUT, 1, 22)],
    "Recv": [(IN, 0, 1), (IN, 1, 22), (OUT, 0, 1), (OUT, 1, 22)],
}
ONE = {"Attempt": [(IN, 0, 3), (OUT, 0, 1)], "Recv": [(IN, 0, 1), (OUT, 0, 3)]}


@pytest.mark.parametrize("kind", ["stream", "unary"])
def test_spans_of_threads_tell_of_each_message(member, exporter, reviews_at, kind):
    with member("reviews") as served:
        server = grpc.server(ThreadPoolExecutor(2), interceptors=served.grpc.server_interceptors())
        made = (
            grpc.stream_stream_rpc_method_handler(lambda requests, _: requests)
            if kind == "stream"
            else grpc.unary_unary_rpc_method_handler(lambda request, _: request * 3)
        )
        generic = grpc.method_handlers_generic_handler("bookinfo.Reviews", {"Get": made})
        server.add_generic_rpc_handlers((generic,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with (
            member("productpage", reviews_at(port)) as mesh,
            mesh.grpc.channel("reviews:9080") as channel,
        ):
            if kind == "stream":
                list(channel.stream_stream(METHOD)(iter([b"1", b"2" * 22])))
            else:
                channel.unary_unary(METHOD)(b"1")
        server.stop(None).wait()
    assert messages(exporter) == (BOTH if kind == "stream" else ONE)


def test_of_a_long_stream_the_first_messages_are_told(member, exporter, reviews_at):
    with member("reviews") as served:
        server = grpc.server(ThreadPoolExecutor(2), interceptors=served.grpc.server_interceptors())
        server.add_generic_rpc_handlers(handlers(lambda requests, _: requests))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with (
            member("productpage", reviews_at(port)) as mesh,
            mesh.grpc.channel("reviews:9080") as channel,
        ):
            list(channel.stream_stream(METHOD)(iter([b"1"] * 300)))
        server.stop(None).wait()
    assert {name: len(told) for name, told in messages(exporter).items()} == {
        "Attempt": 100,
        "Recv": 100,
    }


@pytest.mark.parametrize("kind", ["stream", "unary"])
async def test_spans_of_asyncio_tell_of_each_message(member, exporter, reviews_at, kind):
    async def each(requests, context):
        async for request in requests:
            yield request

    async def once(request, context):
        return request * 3

    async with member("reviews") as served:
        server = grpc.aio.server(interceptors=served.grpc.aio_server_interceptors())
        made = (
            grpc.stream_stream_rpc_method_handler(each)
            if kind == "stream"
            else grpc.unary_unary_rpc_method_handler(once)
        )
        generic = grpc.method_handlers_generic_handler("bookinfo.Reviews", {"Get": made})
        server.add_generic_rpc_handlers((generic,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with (
            member("productpage", reviews_at(port)) as mesh,
            mesh.grpc.aio_channel("reviews:9080") as channel,
        ):
            if kind == "stream":
                call = channel.stream_stream(METHOD)(iter([b"1", b"2" * 22]))
                async for _ in call:
                    pass
            else:
                await channel.unary_unary(METHOD)(b"1")
        await server.stop(None)
    assert messages(exporter) == (BOTH if kind == "stream" else ONE)


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
