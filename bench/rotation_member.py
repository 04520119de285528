"""A member whose certificate is exchanged all the time: server, caller, or one that is revoked.

A process of its own. It tells on standard output that it is ready, ends when standard input does,
and tells then what it saw. Times are those of the monotonic clock, which all processes share.
"""

import asyncio
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
from aiohttp import web

import meshlib
from meshlib import Mesh
from meshlib.identity.authority import Authority
from meshlib.identity.client import CaAddress, CaSource
from meshlib.identity.credentials import IdentityError
from meshlib.identity.sources import Feed
from meshlib.identity.spiffe import SpiffeId
from meshlib.identity.store import FolderStore
from meshlib.identity.tokens import JoinTokens
from meshlib.mesh import root
from meshlib.mesh.identity import Identity

SAY, WATCH = "/bench.Echo/Say", "/bench.Echo/Watch"
MESSAGE = b"0123456789abcdef"
KINDS = ("sync", "aio", "aiohttp")
PORTS = {"sync": 9080, "aio": 9081, "aiohttp": 9082}
BEAT = 0.1
THREADS = 16
LOOK = 0.02
UNSHARED = (("grpc.use_local_subchannel_pool", 1),)


class AuthoritySource(Feed):
    """Has every leaf signed on the spot, and hears of roots and denials from the CA's folder."""

    def __init__(self, folder: str, spiffe_id: str, every: float, ttl: float) -> None:
        super().__init__()
        self._authority = Authority(FolderStore(Path(folder)))
        self._id = SpiffeId.parse(spiffe_id)
        self._every, self._ttl = every, ttl
        self._over = threading.Event()
        self._due = 0.0
        self.failed: Counter[str] = Counter()
        self._look()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def start(self) -> None:
        """It has."""

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def status(self) -> dict[str, object]:
        return {"kind": "authority", **self.shown()}

    def _run(self) -> None:
        while not self._over.wait(LOOK):
            try:
                self._look()
            except IdentityError as error:
                self.failed[str(error)] += 1

    def _look(self) -> None:
        news = self._authority.refresh()
        current = self.current()
        svid = None if current is None else current.svid
        if time.monotonic() >= self._due:
            with suppress(IdentityError):  # revoked: what it has is all that it will ever have
                svid = self._authority.issue(self._id, time.time(), self._ttl)
                news = True
            self._due = time.monotonic() + self._every * (0.9 + 0.2 * random.random())
        if news and svid is not None:
            self.put(self._authority.credentials(svid))


def mesh_of(plan: dict[str, Any]) -> Mesh:
    """A mesh of its own would have a certificate for an hour."""
    if plan["mode"] == "plane":
        source: Any = source_of(plan)
        place = {"control_plane": plan["plane"]}
    else:
        source = AuthoritySource(plan["ca"], plan["spiffe_id"], plan["every"], plan["ttl"])
        place = {"config": plan["config"]}
    root.identity_of = lambda options: Identity(source, options.mtls)
    return Mesh(plan["name"], **place)


def source_of(plan: dict[str, Any]) -> CaSource:
    """It begins with a token for its id, and goes on by its certificate."""
    store = FolderStore(Path(plan["ca"]))
    token = JoinTokens(store).create(SpiffeId.parse(plan["spiffe_id"]), time.time())
    roots = Authority(store).bundle().pem
    address = CaAddress(target=plan["plane"], roots=lambda: roots, token=lambda: token)
    made = CaSource(
        address, wall=time.time, monotonic=time.monotonic, dice=random.random, ttl=plan["ttl"]
    )
    threading.Thread(target=hurry, args=(made, plan["every"]), daemon=True).start()
    return made


def hurry(source: CaSource, every: float) -> None:
    """It would wait for half of a certificate's life."""
    while not source._ending.wait(every):
        if source.current() is not None:
            source._renew_now = True
            source._wakes.set()


# -- the server ---------------------------------------------------------------------------------


class Served:
    """Who came, by which certificates: each is at least one handshake."""

    def __init__(self) -> None:
        self.serials: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self.callers: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def note(self, kind: str, call: object) -> None:
        caller = meshlib.peer(call)
        self.serials[kind].add(caller.serial)
        self.callers[caller.spiffe_id] += 1
        self.calls[kind] += 1


class Echo(grpc.GenericRpcHandler):
    def __init__(self, served: Served, *, awaited: bool) -> None:
        def say(request: bytes, context: Any) -> bytes:
            served.note("sync", context)
            return request

        async def asay(request: bytes, context: Any) -> bytes:
            served.note("aio", context)
            return request

        def watch(_request: bytes, context: Any) -> Any:
            while context.is_active():
                yield MESSAGE
                time.sleep(BEAT)

        async def awatch(_request: bytes, _context: Any) -> Any:
            while True:
                yield MESSAGE
                await asyncio.sleep(BEAT)

        self._say = grpc.unary_unary_rpc_method_handler(asay if awaited else say)
        self._watch = grpc.unary_stream_rpc_method_handler(awatch if awaited else watch)

    def service(self, details: Any) -> Any:
        return self._watch if details.method == WATCH else self._say


async def serve(plan: dict[str, Any], mesh: Mesh) -> dict[str, Any]:
    served, ports = Served(), plan["ports"]
    pool = ThreadPoolExecutor(THREADS)
    sync = grpc.server(pool, interceptors=mesh.grpc.server_interceptors())
    sync.add_generic_rpc_handlers((Echo(served, awaited=False),))
    mesh.grpc.add_port(sync, f"127.0.0.1:{ports['sync']}")
    aio = grpc.aio.server(interceptors=mesh.grpc.aio_server_interceptors())
    aio.add_generic_rpc_handlers((Echo(served, awaited=True),))
    mesh.grpc.add_port(aio, f"127.0.0.1:{ports['aio']}")

    async def say(request: web.Request) -> web.Response:
        served.note("aiohttp", request)
        return web.Response(body=MESSAGE)

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionResetError):  # until it is cut
            while True:
                await response.write(MESSAGE)
                await asyncio.sleep(BEAT)
        return response

    app = web.Application()
    app.router.add_get(SAY, say)
    app.router.add_get(WATCH, watch)
    mesh.aiohttp.setup(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await mesh.aiohttp.site(runner, "127.0.0.1", ports["aiohttp"]).start()
    sync.start()
    await aio.start()
    await told()
    await runner.cleanup()
    await aio.stop(0)
    await asyncio.to_thread(sync.stop(0).wait)
    pool.shutdown()
    return {
        "served": dict(served.calls),
        "callers": dict(served.callers),
        "serials": {kind: len(found) for kind, found in served.serials.items()},
    }


# -- callers ------------------------------------------------------------------------------------

Call = Callable[[], Awaitable[object]]


class Caller:
    """By one library: a call, one on a connection of its own, and a stream."""

    def __init__(self, mesh: Mesh, threads: ThreadPoolExecutor) -> None:
        self._mesh = mesh
        self._threads = threads
        self._session = mesh.aiohttp.session(raise_for_status=True)
        self._sync = mesh.grpc.channel("echo:9080")
        self._aio = mesh.grpc.aio_channel("echo:9081")

    def calls(self) -> dict[str, Call]:
        return {"sync": self.sync, "aio": self.aio, "aiohttp": self.aiohttp}

    def new_calls(self) -> dict[str, Call]:
        return {"sync": self.new_sync, "aio": self.new_aio, "aiohttp": self.new_aiohttp}

    def streams(self) -> dict[str, Callable[[Callable[[], None]], Awaitable[object]]]:
        return {"sync": self.watch, "aio": self.awatch, "aiohttp": self.watch_http}

    def _run(self, function: Callable[[], object]) -> Awaitable[object]:
        return asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def sync(self) -> object:
        say: Any = self._sync.unary_unary(SAY)
        return await self._run(lambda: say(MESSAGE, timeout=10))

    async def aio(self) -> object:
        return await self._aio.unary_unary(SAY)(MESSAGE, timeout=10)

    async def aiohttp(self) -> object:
        async with self._session.get(f"http://echo:9082{SAY}") as response:
            return await response.read()

    async def new_sync(self) -> object:
        def call() -> object:
            with self._mesh.grpc.channel("echo:9080", options=UNSHARED) as channel:
                say: Any = channel.unary_unary(SAY)
                return say(MESSAGE, timeout=10)

        return await self._run(call)

    async def new_aio(self) -> object:
        async with self._mesh.grpc.aio_channel("echo:9081", options=UNSHARED) as channel:
            return await channel.unary_unary(SAY)(MESSAGE, timeout=10)

    async def new_aiohttp(self) -> object:
        async with (
            self._mesh.aiohttp.session(raise_for_status=True) as session,
            session.get(f"http://echo:9082{SAY}") as response,
        ):
            return await response.read()

    async def watch(self, heard: Callable[[], None]) -> object:
        watch: Any = self._sync.unary_stream(WATCH)

        def listen() -> None:
            for _ in watch(MESSAGE):
                heard()

        return await asyncio.to_thread(listen)

    async def awatch(self, heard: Callable[[], None]) -> object:
        watch: Any = self._aio.unary_stream(WATCH)
        async for _ in watch(MESSAGE):
            heard()
        return None

    async def watch_http(self, heard: Callable[[], None]) -> object:
        no_limit = aiohttp.ClientTimeout(total=None)
        async with self._session.get(f"http://echo:9082{WATCH}", timeout=no_limit) as response:
            async for _ in response.content.iter_any():
                heard()
        return None

    async def close(self) -> None:
        await self._session.close()
        await self._aio.close()
        await asyncio.to_thread(self._sync.close)


class Score:
    def __init__(self) -> None:
        self.times: list[float] = []
        self.failed: Counter[str] = Counter()
        self.first_failure: float | None = None

    def row(self, began: float) -> dict[str, Any]:
        ordered = sorted(self.times)
        row: dict[str, Any] = {"calls": len(ordered), "failed": self.failed.total()}
        if ordered:
            row |= {"p50_ms": at(ordered, 0.5), "p99_ms": at(ordered, 0.99)}
            row |= {"max_ms": at(ordered, 1.0)}
        if self.first_failure is not None:
            row |= {"errors": dict(self.failed.most_common(5))}
            row |= {"first_failure_s": round(self.first_failure - began, 1)}
        return row


async def load(plan: dict[str, Any], mesh: Mesh) -> dict[str, Any]:
    """So many calls a second, of each kind in turn, when they are due, and a stream of each."""
    threads = ThreadPoolExecutor(THREADS)
    caller = Caller(mesh, threads)
    scores = {kind: Score() for kind in KINDS}
    calls, rate = [*caller.calls().items()], plan["rate"]
    beats: Counter[str] = Counter()
    for call in caller.calls().values():
        await call()
    streams = {
        kind: asyncio.create_task(watch(lambda kind=kind: beats.update([kind])))
        for kind, watch in caller.streams().items()
    }
    over = asyncio.create_task(told())
    began, number, open_calls = time.monotonic(), 0, set()

    async def one(kind: str, call: Call, due: float) -> None:
        score = scores[kind]
        try:
            await call()
        except Exception as error:
            score.failed[repr(error)] += 1
            score.first_failure = score.first_failure or time.monotonic()
        score.times.append(time.monotonic() - due)

    while not over.done():
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        kind, call = calls[number % len(calls)]
        task = asyncio.create_task(one(kind, call, due))
        open_calls.add(task)
        task.add_done_callback(open_calls.discard)
        number += 1
    seconds = time.monotonic() - began
    await asyncio.gather(*open_calls)
    broken = {kind: repr(task) for kind, task in streams.items() if task.done()}
    for kind, task in streams.items():
        if kind != "sync":  # that one ends with its channel
            task.cancel()
    await caller.close()
    await asyncio.gather(*streams.values(), return_exceptions=True)
    threads.shutdown()
    return {
        "seconds": round(seconds, 1),
        "kinds": {kind: score.row(began) for kind, score in scores.items()},
        "streams_broken": broken,
        "stream_messages": dict(beats),
    }


async def revoked(plan: dict[str, Any], mesh: Mesh) -> dict[str, Any]:
    """Calls on, over old and new connections, and tells when the last of each went well."""
    threads = ThreadPoolExecutor(THREADS)
    caller = Caller(mesh, threads)
    last_good: dict[str, float] = {}
    first_bad: dict[str, float] = {}
    errors: dict[str, str] = {}
    over = asyncio.create_task(told())

    async def repeat(name: str, call: Call) -> None:
        while not over.done():
            began = time.monotonic()
            try:
                await call()
            except Exception as error:
                first_bad.setdefault(name, time.monotonic())
                errors.setdefault(name, repr(error)[:300])
            else:
                last_good[name] = began
            await asyncio.sleep(0.02)

    async def listen(kind: str, watch: Callable[..., Awaitable[object]]) -> None:
        name = f"{kind} stream"
        try:
            await watch(lambda: last_good.__setitem__(name, time.monotonic()))
        except Exception as error:
            errors[name] = repr(error)[:300]
        first_bad[name] = time.monotonic()

    for call in caller.calls().values():
        await call()
    streams = [asyncio.create_task(listen(*each)) for each in caller.streams().items()]
    tasks = [
        asyncio.create_task(repeat(f"{kind} {which}", call))
        for which, calls in (("kept", caller.calls()), ("new", caller.new_calls()))
        for kind, call in calls.items()
    ]
    await asyncio.gather(*tasks)
    open_streams = [task for task in streams if not task.done()]
    for task in open_streams:
        task.cancel()
    await caller.close()
    await asyncio.gather(*streams, return_exceptions=True)
    threads.shutdown()
    still = len(open_streams)
    return {"last_good": last_good, "first_bad": first_bad, "errors": errors, "open": still}


async def told() -> None:
    """By the end of standard input, that it is over; first it is told that this is ready."""
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def at(ordered: list[float], share: float) -> float:
    return round(1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


async def main(plan: dict[str, Any]) -> None:
    roles = {"serve": serve, "load": load, "revoked": revoked}
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(mesh_of(plan))
        said = await roles[plan["role"]](plan, mesh)
        source = mesh._runtime.credentials
        said["unsigned"] = dict(getattr(source, "failed", {}))
        if source is not None:
            source.close()
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this ends it
    asyncio.run(main(json.loads(sys.argv[1])))
