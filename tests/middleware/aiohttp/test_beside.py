"""Calls of a session that are hedged or mirrored, and what becomes of response headers."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    HashCookie,
    HeaderMutations,
    HeaderValueOption,
    HedgePolicy,
    HttpConnectionManager,
    Listener,
    LocalityLbEndpoints,
    RequestMirrorPolicy,
    RetryBackOff,
    RetryPolicy,
    RingHash,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    gather,
)

QUICK = RetryBackOff(base_interval=0.001, max_interval=0.001)


def applied(mesh, action: RouteAction, clusters: dict[str, list[Address]], **more) -> None:
    """``reviews:9080`` goes by this action; each cluster has these endpoints."""
    route = Route(action=action, **{k: v for k, v in more.items() if k == "headers"})
    host = VirtualHost(name="reviews", domains=("*",), routes=(route,))
    table = RouteConfiguration(name="reviews", virtual_hosts=(host,))
    policy = more.get("lb_policy")
    mesh.engine.apply(
        gather(
            listeners=[Listener(name="reviews:9080", http=HttpConnectionManager(routes=table))],
            clusters=[
                Cluster(name=name, **({"lb_policy": policy} if policy else {})) for name in clusters
            ],
            endpoints=[
                ClusterLoadAssignment(
                    cluster_name=name,
                    endpoints=(
                        LocalityLbEndpoints(
                            lb_endpoints=tuple(Endpoint(address=one) for one in addresses)
                        ),
                    ),
                )
                for name, addresses in clusters.items()
            ],
        )
    )


class Slow:
    """A server that answers when it is let, and knows who left before."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.leave = asyncio.Event()
        self.left = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.set()
        try:
            await self.leave.wait()
        except asyncio.CancelledError:
            self.left.set()
            raise
        return web.Response(text="slow")


def hedged(*, attempts: int = 2) -> RouteAction:
    return RouteAction(
        cluster="reviews",
        timeout=0.0,
        retry_policy=RetryPolicy(
            retry_on=("5xx",), num_retries=3, per_try_timeout=0.05, retry_back_off=QUICK
        ),
        hedge_policy=HedgePolicy(hedge_on_per_try_timeout=True),
    )


async def test_a_hedged_call_takes_the_first_good_answer(mesh, servers, session, url):
    slow = Slow()
    applied(
        mesh,
        hedged(),
        {"reviews": [await servers.start(slow.answer), await servers.named("quick")]},
    )
    answers = set()
    for _ in range(2):  # one of them begins at the slow one
        async with session.get(url) as answer:
            answers.add(await answer.text())
    assert answers == {"quick"}
    assert slow.asked.is_set()
    assert mesh.active == 0


async def test_a_slow_attempt_wins_if_the_later_ones_are_no_better(mesh, servers, session, url):
    slow = Slow()
    asked = []

    async def busy(request: web.Request) -> web.Response:
        asked.append(request)
        slow.leave.set()
        return web.Response(status=503)

    applied(
        mesh, hedged(), {"reviews": [await servers.start(slow.answer), await servers.start(busy)]}
    )
    async with session.get(url) as answer:
        assert await answer.text() == "slow"
    assert asked
    assert mesh.active == 0


async def test_who_gives_up_a_hedged_call_gives_up_all_of_its_attempts(mesh, servers, session, url):
    one, two = Slow(), Slow()
    places = [
        await servers.start(one.answer),
        await servers.start(two.answer),
    ]
    applied(mesh, hedged(), {"reviews": places})
    call = asyncio.create_task(session.get(url))
    await asyncio.gather(one.asked.wait(), two.asked.wait())
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert mesh.active == 0


async def test_a_mirror_gets_a_copy_and_never_touches_the_result(mesh, servers, session, url):
    copied: asyncio.Queue = asyncio.Queue()

    async def shadow(request: web.Request) -> web.Response:
        copied.put_nowait((request.host, await request.text(), request.path))
        return web.Response(status=500)

    mirror = RequestMirrorPolicy(cluster="shadow")
    applied(
        mesh,
        RouteAction(cluster="reviews", timeout=0.0, request_mirror_policies=(mirror,)),
        {"reviews": [await servers.named("real")], "shadow": [await servers.start(shadow)]},
    )
    async with session.post(f"{url}/buy", data=b"one book") as answer:
        assert (answer.status, await answer.text()) == (200, "real")
    assert await copied.get() == ("reviews-shadow:9080", "one book", "/buy")


async def test_a_dead_mirror_breaks_nothing(mesh, servers, session, url, nobody):
    mirror = RequestMirrorPolicy(cluster="shadow")
    applied(
        mesh,
        RouteAction(cluster="reviews", timeout=0.0, request_mirror_policies=(mirror,)),
        {"reviews": [await servers.named("real")], "shadow": [nobody]},
    )
    for _ in range(5):
        async with session.get(url) as answer:
            assert await answer.text() == "real"


async def test_a_body_that_streams_is_not_mirrored(mesh, servers, session, url):
    copied: asyncio.Queue = asyncio.Queue()

    async def shadow(request: web.Request) -> web.Response:
        copied.put_nowait(request.method)
        return web.Response()

    mirror = RequestMirrorPolicy(cluster="shadow")
    applied(
        mesh,
        RouteAction(cluster="reviews", timeout=0.0, request_mirror_policies=(mirror,)),
        {"reviews": [await servers.named("real")], "shadow": [await servers.start(shadow)]},
    )

    async def body():
        yield b"one"

    async with session.post(url, data=body()) as answer:
        assert await answer.text() == "real"
    async with session.get(url) as answer:  # what is mirrored in the end is this one
        await answer.text()
    assert await copied.get() == "GET"
    assert copied.empty()


async def test_response_headers_are_as_the_route_wants_them(mesh, servers, session, url):
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="x", headers={"Server-Secret": "1", "X-Kept": "2"})

    headers = HeaderMutations(
        response_headers_to_remove=("server-secret",),
        response_headers_to_add=(HeaderValueOption(name="x-version", value="v1"),),
    )
    applied(
        mesh,
        RouteAction(cluster="reviews", timeout=0.0),
        {"reviews": [await servers.start(handler)]},
        headers=headers,
    )
    async with session.get(url) as answer:
        assert "server-secret" not in answer.headers
        assert (answer.headers["X-Kept"], answer.headers["x-version"]) == ("2", "v1")
        assert (b"x-version", b"v1") in answer.raw_headers
        assert await answer.text() == "x"


async def test_a_cookie_keeps_a_session_at_its_endpoint(mesh, servers, url):
    applied(
        mesh,
        RouteAction(
            cluster="reviews",
            timeout=0.0,
            hash_policy=(HashCookie(name="route", ttl=60.0, path="/"),),
        ),
        {"reviews": [await servers.named(name) for name in "abcd"]},
        lb_policy=RingHash(),
    )
    async with mesh.hooks.session(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        answers = []
        for _ in range(12):
            async with session.get(url) as answer:
                answers.append(await answer.text())
                cookie = answer.cookies.get("route")
                assert (cookie is not None) is (len(answers) == 1)
    assert len(set(answers)) == 1
