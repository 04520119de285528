"""Calls that an aiohttp application of the mesh serves."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from meshlib.dataplane import CallRecord, Cause, Deliver, Failure, Response, Sleep


@pytest.fixture
async def outside():
    """A client that knows nothing of any mesh."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def member(mesh, servers):
    """Starts an application that was set up by the mesh; gives its URL."""

    async def start(handler, **kw) -> str:
        return f"http://{await servers.start(handler, setup=mesh.hooks.setup, **kw)}"

    return start


async def test_a_served_call_is_seen_with_its_status(mesh, member, outside):
    async def created(request):
        return web.Response(status=201, text="made")

    url = await member(created)
    async with outside.put(f"{url}/p?q=1") as answer:
        assert await answer.text() == "made"
    (end,) = mesh.ended
    request = end.record.request
    assert end.record.inbound
    assert end.outcome.status == 201
    assert (request.method, request.path, request.scheme) == ("PUT", "/p?q=1", "http")
    assert request.authority == url.removeprefix("http://")
    assert request.header("user-agent").startswith("Python")


@pytest.mark.parametrize(
    ("error", "status"),
    [(web.HTTPNotFound(), 404), (web.HTTPFound("/x"), 302), (TimeoutError(), 504)],
)
async def test_an_exception_that_is_an_answer_stays_one(mesh, member, outside, error, status):
    async def handler(request):
        raise error

    url = await member(handler)
    async with outside.get(url, allow_redirects=False) as answer:
        assert answer.status == status
    assert [end.outcome.status for end in mesh.ended] == [status]


async def test_a_handler_that_breaks_is_a_500_and_aiohttp_still_logs_it(
    mesh, member, outside, caplog
):
    async def handler(request):
        raise LookupError("gone")

    async with outside.get(await member(handler)) as answer:
        assert answer.status == 500
    assert [end.outcome.status for end in mesh.ended] == [500]
    assert "LookupError: gone" in caplog.text


async def test_a_path_without_handler_is_seen_as_404(mesh, servers, outside):
    app = web.Application()
    mesh.hooks.setup(app)
    async with outside.get(f"http://{await servers.run(app)}/nothing") as answer:
        assert answer.status == 404
    assert [end.outcome.status for end in mesh.ended] == [404]


async def test_a_caller_that_goes_away_is_a_cancelled_call(mesh, servers, outside):
    begun = asyncio.Event()

    async def handler(request):
        begun.set()
        await asyncio.Event().wait()

    app = web.Application()
    app.router.add_get("/", handler)
    mesh.hooks.setup(app)
    address = await servers.run(app, handler_cancellation=True)
    asking = asyncio.create_task(outside.get(f"http://{address}/"))
    await begun.wait()
    asking.cancel()
    async with asyncio.timeout(5):
        while not mesh.ended:  # noqa: ASYNC110 - it is the server's socket that tells
            await asyncio.sleep(0)
    assert [end.outcome.cause.name for end in mesh.ended] == ["CANCELLED"]


async def test_a_streamed_answer_is_one_call(mesh, member, outside):
    async def stream(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(3):
            await answer.write(b"x")
        return answer

    async with outside.get(await member(stream)) as answer:
        assert await answer.read() == b"xxx"
    assert [end.outcome.status for end in mesh.ended] == [200]


async def test_setting_up_twice_is_setting_up_once(mesh, servers, outside):
    started = []
    mesh.runtime.start = lambda: started.append(1)
    app = web.Application()
    mesh.hooks.setup(app)
    mesh.hooks.setup(app)
    assert len(app.middlewares) == 1
    address = await servers.run(app)
    assert started == [1]
    async with outside.get(f"http://{address}/"):
        pass
    assert len(mesh.ended) == 1


async def test_the_cleanup_of_the_mesh_runs_with_the_applications(mesh):
    from meshlib.middleware.aiohttp import AiohttpHooks

    cleaned = []

    async def clean(app):
        cleaned.append(app)

    app = web.Application()
    AiohttpHooks(mesh.runtime, cleanup=clean).setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await runner.cleanup()
    assert cleaned == [app]


async def test_a_site_of_the_mesh_listens(mesh, outside):
    app = web.Application()
    mesh.hooks.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = mesh.hooks.site(runner, "127.0.0.1", 0)
    await site.start()
    async with outside.get(f"http://127.0.0.1:{site.port}/") as answer:
        assert answer.status == 404
    await runner.cleanup()
    assert len(mesh.ended) == 1


PROGRAM = """
import asyncio, importlib.util, sys
from aiohttp import web

from meshlib.dataplane import CallRecord, Cause, Deliver, Failure, Response, Sleep

spec = importlib.util.spec_from_file_location("conftest", sys.argv[1])
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)
mesh = conftest.Mesh()

async def slow(request):
    print("begun", flush=True)
    await asyncio.sleep(0.5)
    return web.Response(text="finished")

async def application():
    app = web.Application()
    app.router.add_get("/", slow)
    return app

mesh.hooks.run_app(application(), host="127.0.0.1", port=int(sys.argv[2]), print=print)
print("ended", len(mesh.ended), flush=True)
"""


def test_a_server_that_is_told_to_stop_finishes_what_it_has_and_takes_no_more(root: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).with_name("conftest.py")), str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONUNBUFFERED": "1"},
    )
    with program, socket.socket() as client:
        assert program.stdout is not None
        assert "Running" in program.stdout.readline()
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while "begun" not in program.stdout.readline():
            pass
        program.send_signal(signal.SIGTERM)
        answer = b""
        while part := client.recv(1000):
            answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"finished")
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            pass
        assert "ended 1" in program.stdout.read()
    assert program.returncode == 0


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        (Response(403, (("x-why", "rule"),), body=b"denied"), 403, "denied"),
        (Failure(Cause.OVERFLOW, "too many"), 503, "too many"),
        (Failure(Cause.TIMEOUT), 504, "UT"),
    ],
)
async def test_what_the_mesh_answers_by_itself_reaches_no_handler(
    mesh, member, outside, outcome, status, text
):
    ended = []

    def refuse(request, marks):
        yield Sleep(0.0)
        ended.append((yield Deliver(outcome, CallRecord(request, 0.0))))

    async def handler(request):
        raise AssertionError("reached")

    mesh.runtime.inbound = refuse
    async with outside.get(await member(handler)) as answer:
        assert (answer.status, await answer.text()) == (status, text)
    assert ended == [None]
