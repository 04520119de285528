"""What the hooks tell of a call to whoever traces it, and the headers that they send for it."""

import asyncio

import pytest
from aiohttp import web

from meshlib.model import RequestMirrorPolicy, RouteAction


@pytest.fixture
def tracing(mesh, traces_with):
    made = traces_with(("X-B3-TraceId", "b3"))
    mesh.runtime.propagation = made
    return made


def sent(request):
    return [request.headers.getall(name) for name in ("traceparent", "x-b3-traceid", "x-kept")]


async def test_every_attempt_carries_headers_of_its_own(mesh, servers, tracing, url):
    seen = []

    async def warming_up(request):
        seen.append(sent(request))
        return web.Response(status=200 if len(seen) == 2 else 503)

    mesh.apply(await servers.start(warming_up), retry=mesh.retry("5xx"))
    headers = {"Traceparent": "mine"}
    async with mesh.hooks.session() as session, session.get(url, headers=headers) as answer:
        assert answer.status == 200
    assert seen == [[["1"], ["b3"], ["1"]], [["2"], ["b3"], ["1"]]]
    assert [foreign for _, foreign in tracing.begun] == [False]


async def test_a_call_that_leaves_the_mesh_is_begun_as_such(mesh, servers, tracing):
    seen = []
    address = await servers.named("outside", seen)
    async with mesh.hooks.session() as session, session.get(f"http://{address}/") as answer:
        await answer.read()
    assert sent(seen[0])[:2] == [["1"], ["b3"]]
    assert [foreign for _, foreign in tracing.begun] == [True]


async def test_a_copy_of_a_call_is_no_attempt_of_it(mesh, servers, tracing, url):
    seen = []
    mirrors = (RequestMirrorPolicy(cluster="reviews"),)
    action = RouteAction(cluster="reviews", request_mirror_policies=mirrors)
    mesh.apply(await servers.named("reviews", seen), action=action)
    async with mesh.hooks.session() as session:
        async with session.get(f"{url}/") as answer:
            await answer.read()
        while len(mesh.ended) < 2:
            mesh.runtime.collect()
            await asyncio.sleep(0)
    assert sorted(request.headers["traceparent"] for request in seen) == ["1", "caller"]
    ((request, _),) = tracing.begun
    assert len(request.meter.trace.sends) == 1


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.filterwarnings("ignore")
async def test_a_handler_that_was_entered_is_left(mesh, servers, tracing, url, caplog, broken):
    async def handler(request):
        if broken:
            raise ValueError(request)
        return web.Response()

    mesh.apply(await servers.start(handler, setup=mesh.hooks.setup))
    async with mesh.hooks.session() as session, session.get(f"{url}/") as answer:
        assert answer.status == (500 if broken else 200)
    assert tracing.entered == tracing.left
    (entered,) = tracing.entered
    assert entered.meter is not None
