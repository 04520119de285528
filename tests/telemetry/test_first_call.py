"""The first call of a program starts its mesh, and is told of like those that follow."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from aiohttp import web

from meshlib import Mesh
from meshlib.dataplane.introduction import INTRODUCTION

METHOD = "/bookinfo.Reviews/Get"


@pytest.fixture
def asked():
    """The names of the headers that each call came with."""
    return []


@pytest.fixture
def page(asked, reviews_at):
    """A member that calls reviews by gRPC, and was not started by anybody."""

    def get(request, context):
        asked.append({one.key for one in context.invocation_metadata()})
        return request

    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(get)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bookinfo.Reviews", {"Get": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    mesh = Mesh("productpage", config=[reviews_at(port)], metrics=True)
    yield mesh
    mesh.close()
    server.stop(None).wait()


def introduced(asked):
    return [bool(names & INTRODUCTION) for names in asked]


def test_who_makes_the_first_call_by_grpc_introduces_itself(page, asked):
    with page.grpc.channel("reviews:9080") as channel:
        call = channel.unary_unary(METHOD)
        call(b"")
        call(b"")
    assert introduced(asked) == [True, True]


async def test_who_makes_the_first_call_by_asyncio_introduces_itself(page, asked):
    async with page.grpc.aio_channel("reviews:9080") as channel:
        call = channel.unary_unary(METHOD)
        await call(b"")
        await call(b"")
    assert introduced(asked) == [True, True]


async def test_who_makes_the_first_call_by_aiohttp_introduces_itself(reviews_at, asked):
    async def get(request):
        asked.append({name.lower() for name in request.headers})
        return web.Response()

    app = web.Application()
    app.router.add_get("/", get)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    page = Mesh("productpage", config=[reviews_at(runner.addresses[0][1])], metrics=True)
    async with page.aiohttp.session() as session:
        for _ in range(2):
            async with session.get("http://reviews:9080/") as answer:
                assert answer.status == 200
    await page.aclose()
    await runner.cleanup()
    assert introduced(asked) == [True, True]
