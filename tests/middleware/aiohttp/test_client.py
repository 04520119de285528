"""Calls of an aiohttp session that the mesh routes, balances and retries."""

import asyncio
import io

import aiohttp
import pytest
from aiohttp import web

from meshlib.errors import CallError
from meshlib.model import (
    Address,
    Exact,
    HeaderMatcher,
    HeaderMutations,
    HeaderValueOption,
    RegexRewrite,
    Route,
    RouteAction,
    RouteMatch,
    Thresholds,
)


async def test_a_call_goes_to_an_endpoint_and_keeps_its_logical_host(mesh, servers, session, url):
    seen = []
    mesh.apply(await servers.named("a", seen))
    async with session.get(f"{url}/x%2Fy?q=1%202") as answer:
        assert await answer.text() == "a"
    assert str(answer.url) == f"{url}/x%2Fy?q=1%202"
    assert seen[0].host == "reviews:9080"
    assert seen[0].raw_path == "/x%2Fy?q=1%202"
    assert mesh.active == 0
    assert [end.outcome.status for end in mesh.ended] == [200]


async def test_calls_spread_over_endpoints_on_kept_connections(mesh, servers, session, url):
    seen = []
    mesh.apply(await servers.named("a", seen), await servers.named("b", seen))
    answers = []
    for _ in range(20):
        async with session.get(url) as answer:
            answers.append(await answer.text())
    assert answers.count("a") == answers.count("b") == 10
    assert len({request.transport.get_extra_info("peername") for request in seen}) == 2


async def test_an_unknown_host_is_called_as_without_a_mesh(mesh, servers, session):
    seen = []
    address = await servers.named("outside", seen)
    async with session.get(f"http://localhost:{address.port}/p?q=1") as answer:
        assert await answer.text() == "outside"
    assert seen[0].host == f"localhost:{address.port}"
    assert answer.request_info.url == answer.url
    assert [end.record.cluster for end in mesh.ended] == [None]


async def test_an_unknown_host_is_refused_when_only_the_mesh_may_be_called(new_mesh, servers):
    mesh = new_mesh(passthrough=False)
    address = await servers.named("outside")
    async with mesh.hooks.session() as session:
        with pytest.raises(aiohttp.ClientConnectionError) as caught:
            await session.get(f"http://127.0.0.1:{address.port}/")
    assert caught.value.mesh.flags == ("NR", "BLOCKED")


async def test_a_dead_endpoint_among_several_never_fails_a_call(
    mesh, servers, session, url, nobody
):
    mesh.apply(nobody, await servers.named("a"), await servers.named("b"))
    for _ in range(12):
        async with session.get(url) as answer:
            assert await answer.text() in "ab"
    assert mesh.active == 0


async def test_a_body_that_cannot_be_replayed_may_still_be_sent_after_a_failed_connect(
    mesh, servers, session, url, nobody
):
    mesh.apply(nobody, await servers.start(echo))

    async def body():
        yield b"one "
        yield b"two"

    for _ in range(4):
        async with session.post(url, data=body()) as answer:
            assert await answer.text() == "one two"


async def test_no_living_endpoint_is_aiohttps_own_error_with_a_report(mesh, session, url, nobody):
    mesh.apply(nobody)
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await session.get(url)
    report = caught.value.mesh
    assert (report.host, report.cluster, report.attempts) == ("reviews:9080", "reviews", 1)
    assert report.endpoint == str(nobody)
    assert report.flags == ("UF",)
    assert report.config_version == "v7"
    assert mesh.active == 0


async def test_no_endpoint_at_all_is_a_mesh_error_of_aiohttps_kin(mesh, session, url):
    mesh.apply()
    with pytest.raises(CallError) as caught:
        await session.get(url)
    assert isinstance(caught.value, aiohttp.ClientConnectionError)
    assert caught.value.mesh.flags == ("UH",)


async def test_no_route_is_a_mesh_error(mesh, session, url):
    headers = (HeaderMatcher(name="end-user", match=Exact("jason")),)
    route = Route(match=RouteMatch(headers=headers), action=RouteAction(cluster="reviews"))
    mesh.apply(routes=(route,))
    with pytest.raises(CallError) as caught:
        await session.get(f"{url}/nowhere")
    assert caught.value.mesh.flags == ("NR",)
    assert "no route for GET reviews:9080/nowhere" in str(caught.value)


async def test_too_many_calls_at_once_overflow(mesh, servers, session, url):
    release = asyncio.Event()

    async def wait(request):
        await release.wait()
        return web.Response()

    mesh.apply(await servers.start(wait), limits=Thresholds(max_requests=1))
    first = asyncio.create_task(session.get(url))
    await mesh.is_busy()
    with pytest.raises(aiohttp.ClientConnectionError) as caught:
        await session.get(url)
    assert caught.value.mesh.flags == ("UO",)
    release.set()
    (await first).release()
    assert mesh.active == 0


async def test_a_route_by_header_sees_the_callers_headers(mesh, servers, session, url):
    mesh.apply(await servers.named("a"), routes=for_jason())
    async with session.get(url, headers={"End-User": "jason"}) as answer:
        assert answer.status == 200
    async with session.get(url) as answer:
        assert answer.status == 200
    paths = [end.record.route.config.name for end in mesh.ended]
    assert paths == ["jason", "others"]


async def test_a_route_changes_path_authority_and_headers_of_what_is_sent(
    mesh, servers, session, url
):
    seen = []
    action = RouteAction(
        cluster="reviews", timeout=0.0, prefix_rewrite="/v2", host_rewrite_literal="ratings"
    )
    headers = HeaderMutations(
        request_headers_to_add=(HeaderValueOption(name="X-Added", value="1"),),
        request_headers_to_remove=("x-secret",),
    )
    mesh.apply(await servers.named("a", seen), routes=(Route(action=action, headers=headers),))
    sent = [("X-Secret", "s"), ("X-Kept", "1"), ("X-Kept", "2")]
    async with session.get(f"{url}/list?a=b", headers=sent) as answer:
        assert str(answer.url) == f"{url}/list?a=b"
    assert seen[0].raw_path == "/v2/list?a=b"
    assert seen[0].host == "ratings"
    assert seen[0].headers["X-Added"] == "1"
    assert "X-Secret" not in seen[0].headers
    assert seen[0].headers.getall("X-Kept") == ["1", "2"]


async def test_a_middleware_outside_sees_the_request_as_it_was_made(mesh, servers, url):
    mesh.apply(await servers.named("a"))
    seen = []

    async def twice(request, handler):
        (await handler(request)).release()
        seen.append(str(request.url))
        return await handler(request)

    async with mesh.hooks.session(middlewares=(twice,)) as session, session.get(url) as answer:
        assert await answer.text() == "a"
    assert seen == [url]
    assert [str(end.record.endpoint is None) for end in mesh.ended] == ["False", "False"]


async def test_ones_own_session_joins_by_the_middleware(mesh, servers, url):
    mesh.apply(await servers.named("a"))
    session = aiohttp.ClientSession(
        middlewares=(mesh.hooks.client_middleware(),), connector=mesh.hooks.connector()
    )
    async with session, session.get(url) as answer:
        assert await answer.text() == "a"


async def test_websockets_go_through_the_mesh(mesh, servers, session):
    async def chat(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    mesh.apply(await servers.start(chat))
    async with session.ws_connect("ws://reviews:9080/chat") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "HELLO"
        assert mesh.active == 1
    assert mesh.active == 0


async def test_cookies_belong_to_the_logical_host(mesh, servers, session, url):
    async def cookie(request):
        answer = web.Response(text=request.cookies.get("k", "none"))
        answer.set_cookie("k", "v")
        return answer

    mesh.apply(await servers.start(cookie), await servers.start(cookie))
    texts = [await (await session.get(url)).text() for _ in range(2)]
    assert texts == ["none", "v"]


# Retries


async def test_a_503_is_retried_elsewhere_by_policy(mesh, servers, session, url):
    good, bad = await servers.named("good"), await servers.start(unavailable)
    mesh.apply(good, bad, retry=mesh.retry("5xx", times=1, previous_hosts=True))
    for _ in range(4):
        async with session.post(url, data=b"x") as answer:
            assert await answer.text() == "good"
    assert mesh.active == 0


async def test_without_policy_a_503_is_the_answer(mesh, servers, session, url):
    mesh.apply(await servers.start(unavailable))
    async with session.get(url) as answer:
        assert answer.status == 503
    assert [end.record.attempts for end in mesh.ended] == [1]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"data": b"bytes"}, "bytes"),
        ({"data": "text"}, "text"),
        ({"json": {"a": 1}}, '{"a": 1}'),
        ({"data": {"a": "1"}}, "a=1"),
    ],
)
async def test_replayable_bodies_arrive_whole_on_a_retry(mesh, servers, session, url, body, text):
    seen = []

    async def second_time(request):
        seen.append(await request.text())
        return web.Response(status=503 if len(seen) == 1 else 200)

    mesh.apply(await servers.start(second_time), retry=mesh.retry("5xx"))
    async with session.post(url, **body) as answer:
        assert answer.status == 200
    assert seen == [text, text]


async def test_a_multipart_form_of_fields_is_replayed(mesh, servers, session, url):
    seen = []

    async def second_time(request):
        seen.append(await request.read())
        return web.Response(status=503 if len(seen) == 1 else 200)

    mesh.apply(await servers.start(second_time), retry=mesh.retry("5xx"))
    with aiohttp.MultipartWriter("form-data") as form:
        form.append("field").set_content_disposition("form-data", name="a")
    async with session.post(url, data=form) as answer:
        assert answer.status == 200
    assert len(seen) == 2
    assert seen[0] == seen[1] != b""


def generated():
    async def body():
        yield b"payload"

    return body()


def opened():
    return io.BytesIO(b"payload")


@pytest.mark.parametrize("make", [generated, opened])
async def test_a_body_that_cannot_be_replayed_is_sent_once(mesh, servers, session, url, make):
    seen = []

    async def unavailable_after_all(request):
        seen.append(await request.read())
        return web.Response(status=503)

    address = await servers.start(unavailable_after_all)
    mesh.apply(address, retry=mesh.retry("5xx", times=3))
    async with session.put(url, data=make()) as answer:
        assert answer.status == 503
    assert seen == [b"payload"]


@pytest.mark.parametrize("make", [generated, opened])
async def test_a_body_that_cannot_be_replayed_is_not_sent_again_after_a_reset(
    mesh, servers, session, url, make
):
    seen = []

    async def reads_and_hangs_up(reader, writer):
        seen.append(await reader.readuntil(b"payload"))

    mesh.apply(await servers.raw(reads_and_hangs_up), retry=mesh.retry("reset", times=3))
    with pytest.raises(aiohttp.ClientConnectionError) as caught:
        await session.put(url, data=make())
    assert caught.value.mesh.flags == ("UC",)
    assert len(seen) == 1
    assert mesh.active == 0


async def test_a_reset_is_retried_by_policy_as_often_as_it_says(mesh, servers, session, url):
    seen = []
    mesh.apply(await servers.raw(hangs_up(seen)), retry=mesh.retry("reset", times=2))
    with pytest.raises(aiohttp.ClientConnectionError) as caught:
        await session.get(url)
    assert len(seen) == caught.value.mesh.attempts == 3
    assert isinstance(caught.value, CallError)
    assert isinstance(caught.value.__cause__, aiohttp.ServerDisconnectedError)


async def test_without_policy_a_reset_on_a_new_connection_is_not_retried(
    mesh, servers, session, url
):
    seen = []
    mesh.apply(await servers.raw(hangs_up(seen)))
    with pytest.raises(aiohttp.ServerDisconnectedError) as caught:
        await session.get(url)
    assert len(seen) == 1
    assert caught.value.mesh.flags == ("UC",)


@pytest.mark.parametrize(("method", "works"), [("GET", True), ("POST", False)])
async def test_a_kept_connection_that_turns_out_closed_fails_no_idempotent_call(
    mesh, servers, session, url, method, works
):
    async def one_answer_per_connection(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")

    mesh.apply(await servers.raw(one_answer_per_connection))
    (await session.request(method, url)).release()
    if works:
        assert (await session.request(method, url)).status == 200
    else:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.request(method, url)
    assert [end.record.attempts for end in mesh.ended] == [1, 1]


async def test_the_answer_of_a_retried_attempt_gives_its_connection_back(
    mesh, servers, session, url
):
    seen = []

    async def endless_503_then_200(request):
        seen.append(request)
        if len(seen) > 1:
            return web.Response(text="fine")
        answer = web.StreamResponse(status=503)
        await answer.prepare(request)
        await answer.write(b"x")
        await asyncio.Event().wait()
        return answer

    mesh.apply(await servers.start(endless_503_then_200), retry=mesh.retry("5xx"))
    async with session.get(url) as answer:
        assert await answer.text() == "fine"
    assert not session.connector._acquired
    assert seen[0].transport is None


# Time


async def test_a_call_beyond_its_routes_timeout_is_a_timeout_of_both_kinds(
    mesh, servers, session, url
):
    mesh.apply(await servers.start(never), timeout=0.05)
    with pytest.raises(TimeoutError) as caught:
        await session.get(url)
    assert isinstance(caught.value, aiohttp.ServerTimeoutError)
    assert isinstance(caught.value, CallError)
    assert caught.value.mesh.flags == ("UT",)
    assert mesh.active == 0


async def test_a_slow_try_is_given_up_for_another(mesh, servers, session, url):
    policy = mesh.retry("gateway-error", per_try_timeout=0.05, previous_hosts=True)
    mesh.apply(await servers.start(never), await servers.named("fast"), retry=policy)
    for _ in range(2):
        async with session.get(url) as answer:
            assert await answer.text() == "fast"
    assert mesh.active == 0


async def test_the_sessions_own_timeout_stays_the_callers(mesh, servers, session, url):
    mesh.apply(await servers.start(never), retry=mesh.retry("5xx", "reset", times=5))
    with pytest.raises(TimeoutError) as caught:
        await session.get(url, timeout=aiohttp.ClientTimeout(total=0.05))
    assert not isinstance(caught.value, CallError)
    assert [end.record.attempts for end in mesh.ended] == [1]
    assert mesh.active == 0


async def test_a_silent_socket_is_a_timeout(mesh, servers, session, url):
    mesh.apply(await servers.start(never))
    with pytest.raises(aiohttp.SocketTimeoutError) as caught:
        await session.get(url, timeout=aiohttp.ClientTimeout(sock_read=0.05))
    assert caught.value.mesh.flags == ("UT",)


async def test_a_cancelled_call_gives_its_permit_back(mesh, servers, session, url):
    mesh.apply(await servers.start(never))
    task = asyncio.create_task(session.get(url))
    await mesh.is_busy()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert mesh.active == 0
    assert [end.outcome.cause.name for end in mesh.ended] == ["CANCELLED"]


async def test_a_name_that_does_not_resolve_is_a_failed_connect(mesh, servers, session, url):
    mesh.apply(Address("no-such-host.invalid", 80), await servers.named("a"))
    for _ in range(2):
        async with session.get(url) as answer:
            assert await answer.text() == "a"


async def test_a_body_that_fails_to_be_made_is_the_callers_own_failure(mesh, servers, session, url):
    async def broken():
        yield b"x"
        raise LookupError("no more")

    mesh.apply(await servers.start(echo), retry=mesh.retry("5xx", "reset", times=3))
    with pytest.raises(aiohttp.ClientConnectionError) as caught:
        await session.post(url, data=broken())
    assert caught.value.mesh.flags == ("LR",)
    assert mesh.active == 0


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def unavailable(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=503)


async def never(request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


def hangs_up(seen: list):
    async def talk(reader, writer):
        seen.append(await reader.readuntil(b"\r\n\r\n"))

    return talk


def for_jason() -> tuple[Route, ...]:
    action = RouteAction(cluster="reviews", timeout=0.0)
    headers = (HeaderMatcher(name="end-user", match=Exact("jason")),)
    return (
        Route(name="jason", match=RouteMatch(headers=headers), action=action),
        Route(name="others", action=action),
    )


async def test_headers_of_a_request_are_filled_in_from_it(mesh, servers, session, url):
    seen = []
    added = HeaderValueOption(name="x-copy", value="%REQ(x-in)%")
    changes = HeaderMutations(request_headers_to_add=(added,))
    route = Route(action=RouteAction(cluster="reviews"), headers=changes)
    mesh.apply(await servers.named("a", seen), routes=(route,))
    async with session.get(url, headers={"x-in": "1"}):
        pass
    assert seen[0].headers["x-copy"] == "1"


@pytest.mark.parametrize("path", ["/proxy/@elsewhere:1/x", "/proxy/x", "/proxy/1.2.3.4/x"])
async def test_a_rewritten_path_cannot_lead_to_another_host(mesh, servers, session, url, path):
    seen = []
    rewrite = RegexRewrite(pattern="^/proxy/(.*)$", substitution="\\1")
    action = RouteAction(cluster="reviews", regex_rewrite=rewrite)
    mesh.apply(await servers.named("a", seen), action=action)
    async with session.get(f"{url}{path}") as answer:
        assert await answer.text() == "a"
    assert [request.raw_path for request in seen] == [path.removeprefix("/proxy")]
