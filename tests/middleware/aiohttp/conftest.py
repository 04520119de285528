"""Real aiohttp and raw servers on loopback, and one mesh in front of them."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import pytest
from aiohttp import web

from meshlib.dataplane import CallEnded, Engine, Event, Options
from meshlib.middleware._drive import Runtime
from meshlib.middleware.aiohttp import AiohttpHooks
from meshlib.model import (
    Address,
    CircuitBreakers,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    HttpConnectionManager,
    Listener,
    LocalityLbEndpoints,
    RetryBackOff,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    Thresholds,
    VirtualHost,
)
from meshlib.model.snapshot import gather
from meshlib.telemetry import Propagation, Recorder

REVIEWS = "reviews:9080"


class Mesh:
    """An engine fed by hand, its aiohttp hooks, and what it reports."""

    def __init__(self, **options) -> None:
        self.ended: list[CallEnded] = []
        self.events: list[Event] = []
        self.recorder = Recorder()
        self.engine = Engine(
            clock=time.monotonic,
            dice=random.Random(7).random,
            observe=self._hear,
            options=Options(**{"complete": True, **options}),
        )
        self.runtime = Runtime(
            self.engine,
            clock=time.monotonic,
            sleep=time.sleep,
            propagation=Propagation(["end-user"]),
        )
        self.hooks = AiohttpHooks(self.runtime)

    def _hear(self, event: Event) -> None:
        self.recorder(event)
        self.events.append(event)
        if isinstance(event, CallEnded):
            self.ended.append(event)

    def apply(
        self,
        *endpoints: Address,
        action=None,
        routes=(),
        retry=None,
        timeout=0.0,
        limits=None,
        listener=REVIEWS,
        **more,
    ) -> None:
        """``reviews:9080`` leads to these endpoints, by this action or these routes."""
        action = action or RouteAction(cluster="reviews", timeout=timeout, retry_policy=retry)
        table = RouteConfiguration(
            name=listener,
            virtual_hosts=(
                VirtualHost(
                    name="reviews", domains=("*",), routes=routes or (Route(action=action),)
                ),
            ),
        )
        cluster = Cluster(
            name="reviews",
            circuit_breakers=CircuitBreakers(default=limits or Thresholds()),
            **more,
        )
        group = LocalityLbEndpoints(lb_endpoints=tuple(Endpoint(address=a) for a in endpoints))
        self.engine.apply(
            gather(
                listeners=[Listener(name=listener, http=HttpConnectionManager(routes=table))],
                clusters=[cluster],
                endpoints=[ClusterLoadAssignment(cluster_name="reviews", endpoints=(group,))],
                version="v7",
            )
        )

    @property
    def active(self) -> int:
        self.runtime.collect()
        return self.engine.clusters["reviews"].breaker.concurrency.active

    async def is_busy(self) -> None:
        """Wait until a call is under way."""
        while not self.active:  # noqa: ASYNC110 - the engine has no events of the beginning
            await asyncio.sleep(0)

    def retry(self, *conditions: str, times: int = 1, **more) -> RetryPolicy:
        quick = RetryBackOff(base_interval=0.001, max_interval=0.001)
        return RetryPolicy(retry_on=conditions, num_retries=times, retry_back_off=quick, **more)


class Servers:
    """Starts servers, closes them when the test is over."""

    def __init__(self) -> None:
        self._close: list[Callable[[], Awaitable[object]]] = []

    async def start(self, handler, *, setup=None) -> Address:
        """An aiohttp application with one handler for everything."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        if setup is not None:
            setup(app)
        return await self.run(app)

    async def run(self, app: web.Application, *, ssl_context=None, **kw) -> Address:
        runner = web.AppRunner(app, shutdown_timeout=0.05, **kw)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
        await site.start()
        self._close.append(runner.cleanup)
        return Address("127.0.0.1", site.port)

    async def named(self, name: str, seen: list | None = None) -> Address:
        """A server that says its name, and notes what it was asked."""

        async def answer(request: web.Request) -> web.Response:
            if seen is not None:
                seen.append(request)
            return web.Response(text=name)

        return await self.start(answer)

    async def raw(self, talk) -> Address:
        """A server that speaks whatever ``talk(reader, writer)`` says."""
        talks: set[asyncio.Task] = set()

        async def guarded(reader, writer) -> None:
            talks.add(asyncio.current_task())
            try:
                await talk(reader, writer)
            except (ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(guarded, "127.0.0.1", 0)

        async def close() -> None:
            server.close()
            for task in talks:
                task.cancel()
            await asyncio.gather(*talks, return_exceptions=True)
            await server.wait_closed()

        self._close.append(close)
        return Address("127.0.0.1", server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        for close in reversed(self._close):
            await close()


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    servers = Servers()
    yield servers
    await servers.close()


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


@pytest.fixture
def new_mesh() -> type[Mesh]:
    return Mesh


@pytest.fixture
async def session(mesh: Mesh) -> AsyncIterator[aiohttp.ClientSession]:
    async with mesh.hooks.session() as session:
        yield session


@pytest.fixture
def nobody() -> Iterator[Address]:
    """An address where no one listens, and no one will for the time being."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield Address(*reserved.getsockname())


@pytest.fixture
def url() -> str:
    return f"http://{REVIEWS}"
