"""Who answers a call over gRPC says so to those who count, once, and not with each call."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager

import grpc
import grpc.aio
import pytest

from meshlib import Mesh
from meshlib.dataplane.introduction import PEER, PEER_WANTED

METHOD = "/bookinfo.Reviews/Get"
STREAM = "/bookinfo.Reviews/Watch"
GATHER = "/bookinfo.Reviews/Gather"


class Served:
    """What each call came with; and a server of them."""

    def __init__(self, **options):
        self.mesh = Mesh("reviews", version="v3", config=[], **options)
        self.calls = []

    def note(self, context):
        self.calls.append({key for key, _ in context.invocation_metadata()})

    @property
    def asked(self):
        return [PEER_WANTED in names for names in self.calls]

    def get(self, request, context):
        self.note(context)
        if request == b"abort":
            context.abort(grpc.StatusCode.NOT_FOUND, "none")
        return request

    def watch(self, request, context):
        self.note(context)
        yield from (request, request)

    def gather(self, requests, context):
        self.note(context)
        return b"".join(requests)

    async def aget(self, request, context):
        self.note(context)
        return request

    async def awatch(self, request, context):
        self.note(context)
        for _ in range(2):
            yield request


def handlers(get, watch, gather=None):
    made = {
        "Get": grpc.unary_unary_rpc_method_handler(get),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
    }
    return (grpc.method_handlers_generic_handler("bookinfo.Reviews", made),)


@contextmanager
def at_work(served):
    interceptors = served.mesh.grpc.server_interceptors()
    with served.mesh, ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, interceptors=interceptors)
        server.add_generic_rpc_handlers(handlers(served.get, served.watch, served.gather))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


@asynccontextmanager
async def at_work_on_a_loop(served):
    interceptors = served.mesh.grpc.aio_server_interceptors()
    async with served.mesh:
        server = grpc.aio.server(interceptors=interceptors)
        server.add_generic_rpc_handlers(handlers(served.aget, served.awatch))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield port
        finally:
            await server.stop(None)


def caller(reviews_at, port, **options):
    return Mesh("productpage", config=[reviews_at(port)], **{"metrics": True, **options})


def answerers(mesh):
    return {
        (kind.destination.workload, kind.destination.canonical_revision)
        for _, kind in mesh.recorder.series
    }


def test_a_server_is_named_from_the_first_call_on_and_asked_no_more(reviews_at):
    served = Served(metrics=True)
    with (
        at_work(served) as port,
        caller(reviews_at, port) as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
    ):
        call = channel.unary_unary(METHOD)
        for _ in range(3):
            assert call(b"hello") == b"hello"
    assert answerers(mesh) == {("reviews", "v3")}
    assert served.asked == [True, False, False]


async def test_servers_and_callers_on_a_loop_do_the_same(reviews_at):
    served = Served(metrics=True)
    async with (
        at_work_on_a_loop(served) as port,
        caller(reviews_at, port) as mesh,
        mesh.grpc.aio_channel("reviews:9080") as channel,
    ):
        call = channel.unary_unary(METHOD)
        for _ in range(3):
            assert await call(b"hello") == b"hello"
    assert answerers(mesh) == {("reviews", "v3")}
    assert served.asked == [True, False, False]


def test_a_stream_asks_too(reviews_at):
    served = Served(metrics=True)
    with (
        at_work(served) as port,
        caller(reviews_at, port) as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
    ):
        for _ in range(2):
            assert list(channel.unary_stream(STREAM)(b"hello")) == [b"hello"] * 2
    assert answerers(mesh) == {("reviews", "v3")}
    assert served.asked == [True, False]


def by_future(channel):
    return channel.unary_unary(METHOD).future(b"hello").result(20)


def with_its_call(channel):
    return channel.unary_unary(METHOD).with_call(b"hello")[0]


def by_a_stream_of_requests(channel):
    return channel.stream_unary(GATHER)(iter((b"hel", b"lo")))


@pytest.mark.parametrize("ask", [by_future, with_its_call, by_a_stream_of_requests])
def test_so_does_any_other_kind_of_call(reviews_at, ask):
    served = Served(metrics=True)
    with (
        at_work(served) as port,
        caller(reviews_at, port) as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
    ):
        assert [ask(channel), ask(channel)] == [b"hello"] * 2
        mesh._runtime.collect()
    assert answerers(mesh) == {("reviews", "v3")}
    assert served.asked == [True, False]


async def test_a_stream_on_a_loop_asks_too(reviews_at):
    served = Served(metrics=True)
    async with (
        at_work_on_a_loop(served) as port,
        caller(reviews_at, port) as mesh,
        mesh.grpc.aio_channel("reviews:9080") as channel,
    ):
        for _ in range(2):
            assert [one async for one in channel.unary_stream(STREAM)(b"hello")] == [b"hello"] * 2
    assert answerers(mesh) == {("reviews", "v3")}
    assert served.asked == [True, False]


def test_who_refuses_says_who_does(reviews_at):
    served = Served(metrics=True)
    with (
        at_work(served) as port,
        caller(reviews_at, port) as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
    ):
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(METHOD)(b"abort", timeout=20)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert answerers(mesh) == {("reviews", "v3")}


@pytest.mark.parametrize(("here", "there"), [(False, True), (True, False)])
def test_where_one_side_wants_no_metrics_nobody_is_named(reviews_at, here, there):
    served = Served(metrics=there)
    with (
        at_work(served) as port,
        caller(reviews_at, port, metrics=here) as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
    ):
        call = channel.unary_unary(METHOD)
        answers = [call.with_call(b"hello")[1].trailing_metadata() for _ in range(2)]
    assert answerers(mesh) == {("unknown", "unknown")}
    assert not [pair for trailers in answers for pair in trailers if pair[0] == PEER]
    assert served.asked == [here, False]


def test_who_is_read_by_somebody_asks_anew(reviews_at):
    """Another may have come in the place of who answered before."""
    served = Served(metrics=True)
    with (
        at_work(served) as port,
        caller(reviews_at, port) as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
    ):
        call = channel.unary_unary(METHOD)
        call(b"hello")
        mesh._seen.text()
        call(b"hello")
        call(b"hello")
    assert served.asked == [True, True, False]
    assert answerers(mesh) == {("reviews", "v3")}


def test_outside_of_the_mesh_nobody_is_asked(reviews_at):
    served = Served(metrics=True)
    with at_work(served) as port:
        manifest = reviews_at(port)
        manifest["spec"]["location"] = "MESH_EXTERNAL"
        with (
            Mesh("productpage", config=[manifest], metrics=True) as mesh,
            mesh.grpc.channel("reviews:9080") as channel,
        ):
            channel.unary_unary(METHOD)(b"hello")
    assert served.asked == [False]
