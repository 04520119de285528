"""What the mesh answers by itself is a response like any other."""

import aiohttp
import pytest

from meshlib.model import (
    DirectResponseAction,
    PathExact,
    PathPrefix,
    RedirectAction,
    Route,
    RouteAction,
    RouteMatch,
)


async def test_a_direct_response_is_read_like_a_servers(mesh, session, url):
    mesh.apply(action=DirectResponseAction(status=418, body=b'{"tea": 1}'))
    async with session.get(f"{url}/pot") as answer:
        assert answer.status == 418
        assert answer.reason == "I'm a Teapot"
        assert answer.headers["Content-Length"] == "10"
        assert answer.content_type == "text/plain"
        assert await answer.text() == '{"tea": 1}'
        assert await answer.json(content_type=None) == {"tea": 1}
        assert await answer.read() == b'{"tea": 1}'
        assert str(answer.url) == f"{url}/pot"
        assert answer.ok is False
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            answer.raise_for_status()
    assert caught.value.status == 418
    assert [end.outcome.status for end in mesh.ended] == [418]


async def test_a_direct_response_can_be_read_by_chunks_and_is_an_object_of_aiohttps(
    mesh, session, url
):
    body = b"0123456789" * 400
    mesh.apply(action=DirectResponseAction(status=200, body=body))
    answer = await session.get(url)
    assert type(answer) is aiohttp.ClientResponse
    assert b"".join([chunk async for chunk in answer.content.iter_chunked(7)]) == body
    assert answer.closed
    assert "200" in repr(answer)


async def test_a_direct_response_without_body_is_empty(mesh, session, url):
    mesh.apply(action=DirectResponseAction(status=299))
    async with session.get(url) as answer:
        assert (answer.status, answer.reason) == (299, "")
        assert await answer.read() == b""


async def test_a_direct_response_to_head_has_no_body(mesh, session, url):
    mesh.apply(action=DirectResponseAction(status=200, body=b"12345"))
    async with session.head(url) as answer:
        assert answer.headers["Content-Length"] == "5"
        assert await answer.read() == b""


async def test_a_session_that_raises_for_status_raises_for_ours(mesh, url):
    mesh.apply(action=DirectResponseAction(status=503, body=b"closed"))
    async with mesh.hooks.session(raise_for_status=True) as session:
        with pytest.raises(aiohttp.ClientResponseError):
            await session.get(url)


async def test_the_body_of_a_request_is_not_sent_anywhere(mesh, session, url):
    touched = []

    async def body():
        touched.append(1)
        yield b"x"

    mesh.apply(action=DirectResponseAction(status=200))
    async with session.post(url, data=body()) as answer:
        assert answer.status == 200
    assert not touched


async def test_aiohttp_follows_a_redirect_of_ours_through_the_mesh(mesh, servers, session, url):
    seen = []
    redirect = RedirectAction(path_redirect="/new", response_code=307)
    mesh.apply(
        await servers.named("a", seen),
        routes=(
            Route(match=RouteMatch(path=PathExact("/old")), action=redirect),
            Route(
                match=RouteMatch(path=PathPrefix("/")),
                action=RouteAction(cluster="reviews", timeout=0.0),
            ),
        ),
    )
    async with session.post(f"{url}/old", data=b"x") as answer:
        assert await answer.text() == "a"
    assert [request.path for request in seen] == ["/new"]
    assert [hop.status for hop in answer.history] == [307]
    assert str(answer.url) == f"{url}/new"


async def test_a_redirect_that_is_not_followed_is_seen(mesh, session, url):
    mesh.apply(action=RedirectAction(host_redirect="elsewhere", https_redirect=True))
    async with session.get(f"{url}/p?q", allow_redirects=False) as answer:
        assert answer.status == 301
        assert answer.headers["Location"].startswith("https://elsewhere")
