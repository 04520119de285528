"""Calls that end badly, programs that just end: nothing hangs, nothing is left behind."""

import pytest


def test_a_program_may_end_without_closing_its_mesh(run_program):
    said = run_program(
        """
mesh = meshlib.Mesh(config=MANIFESTS)
channel = mesh.grpc.channel("greeter:9080")
aio = mesh.grpc.aio_channel("greeter:9080")
assert channel.unary_unary(UNARY)(b"1", timeout=10) == b"ok:1"
async def over_aio():
    assert await aio.unary_unary(UNARY)(b"2", timeout=10) == b"ok:2"
    async with mesh.aiohttp.session() as session, session.get("http://details:9080/") as answer:
        print(await answer.text())
asyncio.run(over_aio())
pending = channel.unary_unary(HANG).future(b"x")
"""
    )
    assert said == "ok\n"


def test_a_mesh_without_control_plane_ends_with_its_program(run_program):
    said = run_program(
        """
import grpc
import logging
logging.disable()
mesh = meshlib.Mesh(control_plane="127.0.0.1:1")
try:
    mesh.grpc.channel("greeter:9080").unary_unary(UNARY)(b"1", timeout=0.2)
except grpc.RpcError as error:
    print(error.code().name)
"""
    )
    assert said in ("UNAVAILABLE\n", "DEADLINE_EXCEEDED\n")


@pytest.mark.parametrize("features", ["", "delta"], ids=["sotw", "delta"])
def test_a_closed_mesh_leaves_no_thread_and_no_connection_to_its_control_plane(
    run_program, features
):
    said = run_program(
        """
from meshlib.testing import control_plane
def cycle(address):
    server = {
        "server_uri": address,
        "channel_creds": [{"type": "insecure"}],
        "server_features": os.environ["FEATURES"].split(),
    }
    bootstrap = {"xds_servers": [server], "node": {"id": "short-lived"}}
    with meshlib.Mesh("greeter", bootstrap=bootstrap) as mesh:
        with mesh.grpc.channel("greeter:9080") as channel:
            assert channel.unary_unary(UNARY)(b"1", timeout=10) == b"ok:1"
        async def over_aio():
            async with mesh.grpc.aio_channel("greeter:9080") as channel:
                assert await channel.unary_unary(UNARY)(b"2", timeout=10) == b"ok:2"
                return [task.get_name() for task in asyncio.all_tasks()]
        asyncio.run(over_aio())
def left():
    kinds = sorted(thread.name for thread in threading.enumerate())
    return kinds, len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
def until(condition):
    pause = threading.Event()
    while not condition():
        gc.collect()
        pause.wait(0.01)
with control_plane(MANIFESTS) as plane:
    for _ in range(5):  # threads and descriptors that gRPC core makes once and keeps
        cycle(plane.address)
    until(lambda: not plane.status["clients"])
    until(lambda: "meshlib-afterwards" not in left()[0])  # soon after the last call has ended
    kinds, tasks, files = left()
    for _ in range(20):
        cycle(plane.address)
    until(lambda: not plane.status["clients"])
    until(lambda: left()[0] == kinds)
    until(lambda: left()[1] <= tasks + 2 and left()[2] <= files + 2)
print(kinds)
""",
        FEATURES=features,
    )
    assert "meshlib-" not in said


def test_a_closed_mesh_can_be_entered_again_with_new_channels(run_program):
    run_program(
        """
mesh = meshlib.Mesh(config=MANIFESTS)
for _ in range(3):
    with mesh:
        channel = mesh.grpc.channel("greeter:9080")
        assert channel.unary_unary(UNARY)(b"1", timeout=10) == b"ok:1"
    mesh.close()
    try:
        channel.unary_unary(UNARY)(b"1", timeout=10)
    except ValueError as refused:
        assert "closed" in str(refused)
    else:
        raise AssertionError("a closed channel calls")
"""
    )


def test_a_loop_closed_over_calls_gives_their_permits_back(run_program):
    said = run_program(
        """
mesh = meshlib.Mesh(config=MANIFESTS)
channel = mesh.grpc.aio_channel("greeter:9080")
async def leave():
    fired = [channel.unary_unary(HANG)(b"x") for _ in range(3)]
    awaited = [asyncio.ensure_future(hang()) for _ in range(3)]
    await channel.unary_unary(UNARY)(b"1", timeout=10)
async def hang():
    await channel.unary_unary(HANG)(b"x")
thread = threading.Thread(target=lambda: asyncio.run(leave()))
thread.start()
thread.join()
gc.collect()
mesh._runtime.collect()
print(sum(c.breaker.concurrency.active for c in mesh._engine.clusters.values()))
mesh.close()
"""
    )
    assert said == "0\n"


def test_calls_given_up_in_every_way_leave_nothing_behind(run_program):
    said = run_program(
        """
mesh = meshlib.Mesh(config=MANIFESTS)
channel = mesh.grpc.aio_channel("greeter:9080")
hang, unary = channel.unary_unary(HANG), channel.unary_unary(UNARY)
async def awaiting():
    await hang(b"x")
async def failing():
    raise KeyError
async def out_of_time():
    async with asyncio.timeout(0.002):
        await hang(b"x")
async def late():
    await hang(b"x", timeout=0.002)
async def waited_for():
    await asyncio.wait_for(awaiting(), 0.002)
async def grouped():
    async with asyncio.TaskGroup() as group:
        group.create_task(awaiting())
        group.create_task(failing())
async def forgotten():
    unary(b"x")
async def cancelled():
    call = hang(b"x")
    call.cancel()
    await call
async def one(way):
    try:
        await way()
    except (Exception, asyncio.CancelledError):
        pass
async def storm():
    ways = (out_of_time, late, waited_for, grouped, forgotten, cancelled)
    sizes = []
    for _ in range(4):
        await asyncio.gather(*(one(way) for way in ways * 40))
        assert await unary(b"last", timeout=10) == b"ok:last"
        gc.collect()
        mesh._runtime.collect()
        kinds = [type(thing).__name__ for thing in gc.get_objects()]
        gens = sum(kind in ("generator", "coroutine", "Task") for kind in kinds)
        sizes.append((len(os.listdir("/proc/self/fd")), threading.active_count(), gens))
    assert sizes[-1] <= sizes[1], sizes
asyncio.run(storm())
clusters = mesh._engine.clusters.values()
held = [c.breaker.concurrency.active + c.breaker.concurrency.retries for c in clusters]
held += [e.active for c in clusters for e in c.balance.endpoints.values()]
print(sum(held))
mesh.close()
"""
    )
    assert said == "0\n"


def test_a_server_told_to_stop_finishes_what_it_has(run_program):
    said = run_program(
        """
import aiohttp
from aiohttp import web
mesh = meshlib.Mesh(config=MANIFESTS)
async def slow(request):
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.2)
    return web.Response(text="finished")
async def ask(port):
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/") as answer:
            print(await answer.text())
import socket
listening = socket.create_server(("127.0.0.1", 0))
port = listening.getsockname()[1]
asking = threading.Thread(target=lambda: asyncio.run(ask(port)))
app = web.Application()
app.router.add_get("/", slow)
async def begin(app):
    asking.start()
app.on_startup.append(begin)
mesh.aiohttp.run_app(app, sock=listening, print=None, handle_signals=True)
asking.join()
mesh.close()
"""
    )
    assert said == "finished\n"
