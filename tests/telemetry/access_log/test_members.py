"""Logs of whole members: what the environment asks for, of calls that are made and served."""

import json

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import meshlib


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("MESHLIB_ACCESS_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("MESHLIB_ACCESS_LOG_FORMAT", "json")
    return tmp_path / "log"


async def test_a_member_tells_of_calls_that_it_makes_and_serves(path):
    async def answer(request):
        return web.Response(text=f"hello {await request.text()}")

    with meshlib.Mesh(config=[]) as mesh:
        app = web.Application()
        app.router.add_post("/books", answer)
        mesh.aiohttp.setup(app)
        async with TestServer(app) as server, mesh.aiohttp.session() as session:
            url = f"http://127.0.0.1:{server.port}/books?page=2"
            async with session.post(url, data=b"world") as response:
                assert await response.text() == "hello world"
            with pytest.raises(aiohttp.ClientError):
                await session.get("http://127.0.0.1:1/nobody")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    told = [
        (row["method"], row["path"], row["response_code"], row["response_flags"]) for row in rows
    ]
    assert sorted(told) == [
        ("GET", "/nobody", 503, "UF"),
        ("POST", "/books?page=2", 200, "-"),
        ("POST", "/books?page=2", 200, "-"),
    ]
    posts = [row for row in rows if row["method"] == "POST"]
    assert {(row["bytes_received"], row["bytes_sent"]) for row in posts} == {(5, 11)}
    assert {row["response_code_details"] for row in posts} == {"via_upstream"}


async def test_a_call_without_request_id_is_told_by_the_one_that_it_was_given(path):
    async def chain(request):
        if request.path == "/last":
            return web.Response()
        async with mesh.aiohttp.session() as session, session.get(request.url.with_path("/last")):
            return web.Response()

    with meshlib.Mesh(config=[]) as mesh:
        app = web.Application()
        app.router.add_get("/{name}", chain)
        mesh.aiohttp.setup(app)
        async with (
            TestServer(app) as server,
            aiohttp.ClientSession() as stranger,
            stranger.get(f"http://127.0.0.1:{server.port}/first") as response,
        ):
            assert response.status == 200
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["path"] for row in rows] == ["/last", "/last", "/first"]
    assert len({row["request_id"] for row in rows}) == 1
    assert rows[0]["request_id"]
