"""Registered members and control planes as programs of their own, and what their deaths do."""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import grpc
import grpc.aio
import pytest

import meshlib

SOURCE = str(Path(__file__).parents[2] / "src")
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec: {selector: {app: greeter}, ports: [{name: grpc, port: 9080}]}
"""
MEMBER = """
import signal, sys, grpc, meshlib
from concurrent.futures import ThreadPoolExecutor
server = grpc.server(ThreadPoolExecutor(4))
handlers = {"Unary": grpc.unary_unary_rpc_method_handler(lambda request, _: b"ok")}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.T", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
with meshlib.Mesh("greeter", control_plane=sys.argv[1]) as mesh:
    with mesh.register(port, linger=0.5):
        print("ready", flush=True)
        signal.sigwait({signal.SIGTERM})
    server.stop(5).wait()
"""


@pytest.fixture
async def start():
    """``await start(*arguments)``: Python runs, and has said its first line."""
    programs = []

    def spawned(arguments):
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | {"PYTHONPATH": SOURCE},
            stdout=subprocess.PIPE,
        )

    async def started(*arguments):
        program = spawned(arguments)
        programs.append(program)
        assert await asyncio.to_thread(program.stdout.readline)
        return program

    yield started
    for program in programs:
        program.kill()
        program.wait()
        program.stdout.close()


@pytest.fixture
async def serve(start, tmp_path, free_port):
    """``await serve()``: the control plane, always at the same address."""
    (tmp_path / "greeter.yaml").write_text(SERVICE)
    address = f"127.0.0.1:{free_port()}"
    arguments = ("--listen", address, "--admin", "off")

    async def served(grace=6):
        keeps = ("--registration-grace", str(grace))
        return await start("-m", "meshlib", "serve", str(tmp_path), *arguments, *keeps)

    served.address = address
    return served


@contextlib.asynccontextmanager
async def caller(address):
    async with meshlib.Mesh("caller", control_plane=address) as mesh:
        call = mesh.grpc.aio_channel("greeter:9080").unary_unary("/test.T/Unary")

        async def answer():
            try:
                return await call(b"", timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code().name

        yield answer, mesh


def connected(mesh):
    return mesh.status()["source"]["connected"]


async def test_callers_notice_nothing_of_a_control_plane_that_dies_and_comes_back(start, serve):
    plane = await serve()
    await start("-c", MEMBER, serve.address)
    async with caller(serve.address) as (answer, mesh), asyncio.timeout(50):
        assert await answer() == b"ok"
        plane.kill()
        while connected(mesh):
            assert await answer() == b"ok"
        await serve()
        for _ in range(2_000):
            assert await answer() == b"ok"
        while not connected(mesh):
            assert await answer() == b"ok"
        for _ in range(2_000):
            assert await answer() == b"ok"


async def test_a_member_that_is_killed_disappears_after_the_grace(start, serve):
    await serve(grace=1)
    first = await start("-c", MEMBER, serve.address)
    async with caller(serve.address) as (answer, mesh), asyncio.timeout(50):
        assert await answer() == b"ok"
        first.kill()
        while mesh.route("POST", "grpc://greeter:9080/test.T/Unary").endpoints:
            assert await answer() == "UNAVAILABLE"


async def test_a_member_that_is_told_to_end_fails_no_call(start, serve):
    await serve()
    first = await start("-c", MEMBER, serve.address)
    await start("-c", MEMBER, serve.address)
    async with caller(serve.address) as (answer, _), asyncio.timeout(50):
        for _ in range(100):
            assert await answer() == b"ok"
        first.terminate()
        while first.poll() is None:
            assert await answer() == b"ok"
        for _ in range(100):
            assert await answer() == b"ok"
        assert first.returncode == 0
