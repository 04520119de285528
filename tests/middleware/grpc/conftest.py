"""Real servers on loopback ports, and a mesh whose configuration the tests make."""

import asyncio
import random
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest

from meshlib.dataplane import CallEnded, Engine, Options
from meshlib.middleware._drive import Runtime
from meshlib.middleware.grpc import GrpcHooks
from meshlib.model import (
    NO_MUTATIONS,
    ROUTER,
    Address,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    HeaderMutations,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    LocalityLbEndpoints,
    Rds,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    Snapshot,
    VirtualHost,
    gather,
)
from meshlib.xds.orca import BinaryMetadata

HOST = "reviews:9080"


@dataclass
class World:
    """A mesh of which everything can be seen."""

    events: list[object] = field(default_factory=list)
    options: Options = field(default_factory=lambda: Options(complete=True))
    propagation: object = None

    def __post_init__(self):
        self.engine = Engine(
            clock=time.monotonic,
            dice=random.Random(7).random,
            observe=self.events.append,
            options=self.options,
        )
        self.wanted: list[str] = []
        self.runtime = Runtime(
            self.engine,
            clock=time.monotonic,
            sleep=time.sleep,
            want=self.wanted.append,
            propagation=self.propagation,
        )
        self.runtime.binary_metadata = BinaryMetadata()
        self.hooks = GrpcHooks(self.runtime)

    def serve(self, *ports: int, clusters: dict[str, tuple[int, ...]] | None = None, **more):
        """Let ``reviews:9080`` lead to these ports; ``clusters`` are there besides."""
        self.apply(snapshot({"reviews": ports, **(clusters or {})}, **more))

    def apply(self, config: Snapshot) -> None:
        self.runtime.commit(self.engine.prepare(config))

    @property
    def ended(self):
        return [event for event in self.events if isinstance(event, CallEnded)]

    @property
    def active(self) -> int:
        """The permits that are out."""
        self.runtime.collect()
        return sum(c.breaker.concurrency.active for c in self.engine.clusters.values())


def snapshot(
    clusters: dict[str, tuple[int, ...]],
    *,
    routes: tuple[Route, ...] = (),
    retry: RetryPolicy | None = None,
    listener: str = HOST,
    filters: tuple[HttpFilter, ...] = (),
    headers: HeaderMutations = NO_MUTATIONS,
    action: dict[str, object] | None = None,
    **cluster,
) -> Snapshot:
    first = next(iter(clusters))
    forward = RouteAction(cluster=first, retry_policy=retry, **(action or {}))
    default = Route(action=forward, headers=headers)
    manager = HttpConnectionManager(routes=Rds("table"), http_filters=(*filters, ROUTER))
    return gather(
        listeners=[Listener(name=listener, http=manager)],
        routes=[
            RouteConfiguration(
                name="table",
                virtual_hosts=(
                    VirtualHost(name="all", domains=("*",), routes=routes or (default,)),
                ),
            )
        ],
        clusters=[Cluster(name=name, **cluster) for name in clusters],
        endpoints=[
            ClusterLoadAssignment(
                cluster_name=name,
                endpoints=(
                    LocalityLbEndpoints(
                        lb_endpoints=tuple(
                            Endpoint(address=Address("127.0.0.1", port)) for port in ports
                        )
                    ),
                ),
            )
            for name, ports in clusters.items()
        ],
    )


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what other threads do; the test's own time limit is the patience."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.001)


@pytest.fixture
def until():
    return wait_until


@pytest.fixture
def auntil():
    """Let the event loop turn until it is so."""

    async def wait(condition: Callable[[], object]) -> None:
        await asyncio.to_thread(wait_until, condition)

    return wait


@pytest.fixture
def make_snapshot():
    return snapshot


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**options) -> World:
        made.append(World(**options))
        return made[-1]

    yield make
    for world in made:
        world.hooks.close()


@pytest.fixture
def world(make_world) -> World:
    return make_world()


@pytest.fixture
def dead_port() -> Iterator[Callable[[], int]]:
    """Ports that refuse connections: bound, so nobody else gets them, but not listening."""
    held: list[socket.socket] = []

    def make() -> int:
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        held.append(bound)
        return bound.getsockname()[1]

    yield make
    for bound in held:
        bound.close()


class Echo(grpc.GenericRpcHandler):
    """Answers with its name and what it got; ``fail`` many calls fail first."""

    def __init__(self, name: str = "one") -> None:
        self.name = name.encode()
        self.failures: list[tuple[grpc.StatusCode, str]] = []
        self.calls: list[str] = []
        self.metadata: list[tuple[tuple[str, object], ...]] = []
        self.seen: list[object] = []
        self.is_slow = False
        self.asked = threading.Event()
        self.after: threading.Event | None = None  # answers not before this has happened
        self.cancelled = threading.Event()

    def service(self, details):
        method = details.method.rpartition("/")[2]
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Forever": grpc.unary_stream_rpc_method_handler(self.forever),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
        }.get(method)

    def enter(self, context) -> None:
        self.calls.append(context.peer())
        self.asked.set()
        self.metadata.append(tuple((key, value) for key, value in context.invocation_metadata()))
        if self.failures:
            code, words = self.failures.pop(0)
            context.set_trailing_metadata((("why", "asked for"),))
            context.abort(code, words)

    def unary(self, request, context):
        self.enter(context)
        if self.is_slow:
            return self.wait(request, context)
        if self.after is not None:
            self.after.wait(30)
        context.send_initial_metadata((("served-by", self.name.decode()),))
        return self.name + b":" + request

    def down(self, request, context):
        self.enter(context)
        for letter in request:
            yield self.name + b":" + bytes([letter])

    def up(self, requests, context):
        requests = list(requests)
        self.enter(context)
        return self.name + b":" + b"".join(requests)

    def both(self, requests, context):
        if self.failures:
            list(requests)  # a write that crosses an abort is an error of its own to grpcio
        self.enter(context)
        for request in requests:
            yield self.name + b":" + request

    def forever(self, request, context):
        self.enter(context)
        context.add_callback(self.cancelled.set)
        while context.is_active():
            yield request

    def hang(self, request, context):
        self.enter(context)
        return self.wait(request, context)

    def wait(self, request, context):
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(30)
        self.cancelled.set()
        return request


@pytest.fixture
def start() -> Iterator[Callable[..., int]]:
    """Start a real server around handlers; the port it listens on."""
    servers: list[grpc.Server] = []

    def make(*handlers: grpc.GenericRpcHandler, interceptors=()) -> int:
        server = grpc.server(futures.ThreadPoolExecutor(16), interceptors=tuple(interceptors))
        server.add_generic_rpc_handlers(handlers)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return port

    yield make
    for server in servers:
        server.stop(None).wait()


@pytest.fixture
def echo() -> type[Echo]:
    return Echo


class Caller:
    """One way to call all four kinds: the same questions, sync and asyncio, channel and hook."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    async def unary(self, message=b"x", **options):
        return await in_thread(self.channel.unary_unary("/test.Echo/Unary"), message, **options)

    async def down(self, message=b"ab", **options):
        method = self.channel.unary_stream("/test.Echo/Down")
        return await in_thread(lambda: list(method(message, **options)))

    async def up(self, messages=(b"a", b"b"), **options):
        return await in_thread(
            self.channel.stream_unary("/test.Echo/Up"), iter(messages), **options
        )

    async def both(self, messages=(b"a", b"b"), **options):
        method = self.channel.stream_stream("/test.Echo/Both")
        return await in_thread(lambda: list(method(iter(messages), **options)))

    async def close(self) -> None:
        self.channel.close()


class FutureCaller(Caller):
    """Unary calls as futures."""

    async def unary(self, message=b"x", **options):
        method = self.channel.unary_unary("/test.Echo/Unary")
        return await in_thread(lambda: method.future(message, **options).result())


class AioCaller:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    async def unary(self, message=b"x", **options):
        return await self.channel.unary_unary("/test.Echo/Unary")(message, **options)

    async def down(self, message=b"ab", **options):
        call = self.channel.unary_stream("/test.Echo/Down")(message, **options)
        return [answer async for answer in call]

    async def up(self, messages=(b"a", b"b"), **options):
        return await self.channel.stream_unary("/test.Echo/Up")(later(messages), **options)

    async def both(self, messages=(b"a", b"b"), **options):
        call = self.channel.stream_stream("/test.Echo/Both")(later(messages), **options)
        return [answer async for answer in call]

    async def close(self) -> None:
        await self.channel.close()


async def in_thread(function, *arguments, **options):
    return await asyncio.to_thread(function, *arguments, **options)


async def later(messages):
    for message in messages:
        yield message


def ways(world: World, way: str, target: str) -> Caller | AioCaller:
    hooks = world.hooks
    match way:
        case "channel":
            return Caller(hooks.channel(target))
        case "future":
            return FutureCaller(hooks.channel(target))
        case "aio_channel":
            return AioCaller(hooks.aio_channel(target))
        case "interceptors":
            plain = grpc.insecure_channel(target)
            return Caller(grpc.intercept_channel(plain, *hooks.client_interceptors()))
        case _:
            interceptors = hooks.aio_client_interceptors()
            return AioCaller(grpc.aio.insecure_channel(target, interceptors=interceptors))


WAYS = ["channel", "aio_channel", "interceptors", "aio_interceptors"]


@pytest.fixture(params=[*WAYS, "future"])
def unary_by(request, callers) -> Callable[..., Caller | AioCaller]:
    """Like ``call_by``, and as futures, too."""

    def make(world: World, target: str = HOST) -> Caller | AioCaller:
        return callers(world, request.param, target)

    return make


@pytest.fixture
async def callers() -> AsyncIterator[Callable[..., Caller | AioCaller]]:
    made: list[tuple[World, Caller | AioCaller]] = []

    def make(world: World, way: str, target: str = HOST) -> Caller | AioCaller:
        caller = ways(world, way, target)
        made.append((world, caller))
        return caller

    yield make
    for world, caller in made:
        await caller.close()
        await world.hooks.aclose()


@pytest.fixture(params=WAYS)
def call_by(request, callers) -> Callable[..., Caller | AioCaller]:
    """Every test that asks for it runs over each of the four client hooks."""

    def make(world: World, target: str = HOST) -> Caller | AioCaller:
        return callers(world, request.param, target)

    return make
