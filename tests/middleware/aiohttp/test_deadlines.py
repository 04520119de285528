"""A call made while serving a call ends before that one has to."""

import asyncio
import dataclasses

import aiohttp
import pytest
from aiohttp import web

import meshlib
from meshlib.dataplane import AskRateLimit, RateLimitVerdict
from meshlib.model import (
    ROUTER,
    GenericKey,
    GlobalRateLimit,
    HttpFilter,
    RateLimit,
)


async def test_the_time_that_is_left_goes_out_with_a_call(mesh, servers, session, url):
    seen = []
    mesh.apply(await servers.named("a", seen), timeout=3.0)
    await session.get(url)
    assert 0 < int(seen[0].headers["x-envoy-expected-rq-timeout-ms"]) <= 3000


async def test_without_a_limit_nothing_is_said(mesh, servers, session, url):
    seen = []
    mesh.apply(await servers.named("a", seen))
    await session.get(url)
    assert "x-envoy-expected-rq-timeout-ms" not in seen[0].headers


@pytest.fixture
async def chain(mesh, servers, session, url):
    """A server of the mesh whose handler calls one that answers when it is let."""
    leave = asyncio.Event()
    budgets: asyncio.Queue = asyncio.Queue()

    async def last(request: web.Request) -> web.Response:
        budgets.put_nowait(request.headers.get("x-envoy-expected-rq-timeout-ms"))
        await leave.wait()
        return web.Response(text="late")

    async def first(request: web.Request) -> web.Response:
        try:
            async with session.get(url) as answer:
                return web.Response(text=await answer.text())
        except TimeoutError:
            return web.Response(status=504, text="in time")

    mesh.apply(await servers.start(last))
    place = await servers.start(first, setup=mesh.hooks.setup)
    yield f"http://{place}", leave, budgets
    leave.set()


@pytest.mark.parametrize(
    ("name", "value"), [("x-envoy-expected-rq-timeout-ms", "80"), ("grpc-timeout", "80m")]
)
async def test_who_serves_waits_no_longer_than_its_caller(chain, name, value):
    place, _, budgets = chain
    async with (
        aiohttp.ClientSession() as caller,
        caller.get(place, headers={name: value}) as answer,
    ):
        assert await answer.text() == "in time"
    assert 0 < int(await budgets.get()) <= 75


async def test_a_caller_who_says_nothing_is_waited_for(chain):
    place, leave, budgets = chain
    async with aiohttp.ClientSession() as caller:
        call = asyncio.create_task(caller.get(place))
        assert await budgets.get() is None
        leave.set()
        assert await (await call).text() == "late"


@pytest.mark.parametrize("value", ["", "-5", "soon", "9" * 30])
async def test_what_is_no_number_bounds_nothing(chain, value):
    place, leave, budgets = chain
    leave.set()
    headers = {"x-envoy-expected-rq-timeout-ms": value}
    async with aiohttp.ClientSession() as caller, caller.get(place, headers=headers) as answer:
        assert await answer.text() == "late"
    assert await budgets.get() is None


async def test_deadlines_stay_where_they_are_if_so_configured(mesh, chain):
    mesh.runtime.propagate_deadlines = False
    place, leave, budgets = chain
    async with aiohttp.ClientSession() as caller:
        headers = {"x-envoy-expected-rq-timeout-ms": "50"}
        call = asyncio.create_task(caller.get(place, headers=headers))
        assert await budgets.get() is None
        leave.set()
        assert await (await call).text() == "late"


async def test_an_override_bounds_the_calls_of_its_block(mesh, servers, session, url):
    leave = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        await leave.wait()
        return web.Response(text="slow")

    mesh.apply(await servers.start(slow))
    with meshlib.override(timeout=0.05), pytest.raises(TimeoutError):
        await session.get(url)
    leave.set()
    async with session.get(url) as answer:
        assert await answer.text() == "slow"


class SilentLimits:
    """A rate limit service that never answers."""

    async def aask(self, effect: AskRateLimit) -> RateLimitVerdict:
        return await asyncio.get_running_loop().create_future()


async def test_a_caller_does_not_wait_for_a_rate_limit_longer_than_it_said(
    mesh, servers, session, url
):
    mesh.apply(await servers.named("a"))
    snapshot = mesh.engine.snapshot
    limit = RateLimit(actions=(GenericKey(descriptor_value="all"),))
    asks = GlobalRateLimit(
        domain="all", cluster="reviews", timeout=60.0, failure_mode_deny=True, rate_limits=(limit,)
    )
    (listener,) = snapshot.listeners.values()
    filters = (HttpFilter(name="ask", config=asks), ROUTER)
    http = dataclasses.replace(listener.http, http_filters=filters)
    mesh.engine.apply(
        dataclasses.replace(
            snapshot, listeners={listener.name: dataclasses.replace(listener, http=http)}
        )
    )
    mesh.runtime.services = SilentLimits()
    with pytest.raises(aiohttp.ServerTimeoutError) as failed:
        await session.get(url, timeout=aiohttp.ClientTimeout(total=0.05))
    assert failed.value.mesh.flags == ("RLSE",)
    (endpoint,) = mesh.engine.clusters["reviews"].balance.endpoints.values()
    assert endpoint.active == mesh.active == 0
