"""Members whose CA gives no DNS names that stand for SPIFFE ids, as those of Istio and SPIRE."""

import asyncio
from concurrent import futures

import grpc
import grpc.aio
import pytest

from meshlib.mesh.native import NativeResources


@pytest.fixture(params=("grpc", "grpc.aio"))
def library(request):
    return request.param


@pytest.fixture
def foreign(words):
    """The credentials of a CA that gives no DNS names, as those of Istio and SPIRE."""

    def make(ca, *ids, **bad):
        svid = ca.svid(*ids, dns=(), **bad)
        return words.replace(words.believing(ca, svid=svid), derived_names=False)

    return make


@pytest.fixture
def joined(words):
    def make(credentials):
        member = words.Member(credentials)
        member.runtime.native = NativeResources()
        return member

    return make


@pytest.fixture
def caller(ca, foreign, joined, words):
    return joined(foreign(ca, words.PRODUCTPAGE))


class Stock(grpc.GenericRpcHandler):
    """A server of gRPC alone, that says how it was called."""

    def __init__(self, asked) -> None:
        self._asked = asked

    def service(self, details):
        def answer(_request, context):
            asked = context._rpc_event.call_details.host  # gRPC tells it nowhere else
            self._asked.append(asked.decode())
            found = dict(context.invocation_metadata())
            return ",".join(sorted(found)).encode()

        def stream(_requests, context):
            yield answer(None, context)

        if details.method.endswith("Stream"):
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def stock():
    """Serves with the certificate, and asks for one of these CAs; the port."""
    closing, asked = [], []

    def start(svid, *cas):
        pool = futures.ThreadPoolExecutor(4)
        server = grpc.server(pool, handlers=[Stock(asked)])
        shown = [(svid.private_key, svid.certificate_chain)]
        roots = b"".join(ca.pem for ca in cas) or None
        credentials = grpc.ssl_server_credentials(shown, roots, bool(cas))
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        closing.append((server, pool))
        return port

    start.asked = asked
    yield start
    for server, pool in closing:
        server.stop(0).wait()
        pool.shutdown()


@pytest.fixture
def played(words):
    """``await played(member, library, shape)``: all messages of a call of this shape."""

    async def play(member, library, shape="unary_unary", path=None):
        if path is None:
            path = "/test.Echo/Stream" if shape == "stream_stream" else "/test.Echo/Say"
        message = iter([b"secret"]) if shape.startswith("stream") else b"secret"
        if library == "grpc":
            with member.grpc.channel(words.HOST) as channel:
                return await asyncio.to_thread(_sync, getattr(channel, shape)(path), message, shape)
        async with member.grpc.aio_channel(words.HOST) as channel:
            made = getattr(channel, shape)(path)(message, timeout=20)
            return [await made] if shape.endswith("unary") else [one async for one in made]

    return play


def _sync(call, message, shape):
    made = call(message, timeout=20)
    return [made] if shape.endswith("unary") else list(made)
