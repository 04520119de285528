"""The xDS server: every discovery service over grpc.aio, for what a cache holds."""

import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from ..errors import MeshError
from ..identity.authenticators import Caller
from .admin import LOOPBACK, Admin
from .cache import SnapshotCache
from .discovery import ExcessError, RequestError
from .fetch import fetched
from .gate import DeniedError, Gate
from .limits import Limits, TokenBucket
from .load_reports import LoadReports
from .messages import node_of
from .node import Node
from .sds import Secrets
from .services import handlers
from .status import Client, Status
from .stream import Ears, OnListeners, OnNack, Stream, Wire

if TYPE_CHECKING:
    from .ca import Ca

LOG = logging.getLogger("meshlib.controlplane")
OPTIONS = (
    ("grpc.so_reuseport", 0),  # two servers that share a port would share its clients by chance
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients are told to ping every 30 s; a server that takes that for a flood hangs up.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)
GOLDEN_RATIO = 0.618033988749895


class AdsServer:
    """Serves what a :class:`SnapshotCache` holds: ``async with AdsServer(cache, listen=…)``.

    Both encodings of the aggregated service and of those of one type. ``address`` is where it
    listens; port 0 takes a free one, and ``unix:PATH`` is a socket of this machine. ``on_nack``
    hears of every refusal (default: the cache, which may roll back), ``on_listeners`` of listeners
    that are asked for by name; ``wire`` is shown every message. While ``settling``, clients that
    knew endpoints of a cluster are not told that it has none; :meth:`wake` looks again.
    ``beside`` are other services on the same port. With a ``ca`` only its members
    are let in, by its front.

    Belongs to the loop that started it.
    """

    def __init__(  # noqa: PLR0913 - one keyword an option
        self,
        cache: SnapshotCache,
        status: Status | None = None,
        listen: str = "127.0.0.1:18000",
        *,
        limits: Limits | None = None,
        credentials: grpc.ServerCredentials | None = None,
        on_nack: OnNack | None = None,
        on_listeners: OnListeners | None = None,
        wire: Wire | None = None,
        settling: Callable[[], bool] = lambda: False,
        beside: Sequence[grpc.GenericRpcHandler] = (),
        ca: "Ca | None" = None,
    ) -> None:
        self.status = status or Status(time.monotonic)
        self.address = listen
        self.admin_address: str | None = None
        self._cache = cache
        self._limits = limits or Limits()
        self._credentials = credentials
        self._ears = Ears(on_nack or cache.refused, on_listeners, wire)
        self._settling = settling
        self._beside = tuple(beside)
        self._gate: Gate = ca or Gate()
        self._front = None if ca is None else ca.front
        self._secrets = None if ca is None else Secrets(ca)
        self._server: grpc.aio.Server | None = None
        self._streams: set[Stream] = set()
        self._open = 0
        self._numbers = count(1)
        self._by_node: Counter[str] = Counter()
        new, rate = self._limits.new_streams, self._limits.new_streams_per_second
        self._new_streams = TokenBucket(new, rate, self.status.clock)
        self._load_reports = LoadReports(
            cache,
            self.status.loads,
            self._room,
            self._known,
            interval=self._limits.load_interval,
            age=self._limits.max_connection_age,
        )
        self._draining = False

    async def start(self) -> str:
        """Listen; returns ``host:port`` with the real port.

        Raises :class:`MeshError` if the address cannot be had.
        """
        server = grpc.aio.server(options=(*OPTIONS, *self._options()))
        own = (*handlers(self.stream, self.fetch), self._load_reports.handler)
        server.add_generic_rpc_handlers((*own, *self._beside))
        host = self.address.rpartition(":")[0]
        self._warn_of_plaintext(host)
        inner = self.address if self._front is None else self._front.open()
        try:
            port = (
                server.add_insecure_port(inner)
                if self._credentials is None
                else server.add_secure_port(inner, self._credentials)
            )
        except RuntimeError as error:
            raise MeshError(f"cannot listen on {self.address}: is the port taken?") from error
        await server.start()
        if self._front is not None:
            try:
                port = await self._front.start(self.address)
            except MeshError:
                await server.stop(None)  # or gRPC complains of a server left behind
                await self._front.stop()
                raise
        self._server = server
        if not self.address.startswith("unix:"):
            self.address = f"{host}:{port}"
        return self.address

    def _warn_of_plaintext(self, host: str) -> None:
        is_local = host in LOOPBACK or self.address.startswith("unix:")
        if self._credentials is None and self._front is None and not is_local:
            LOG.warning("%s is reached in plaintext from other machines", self.address)

    def wake(self) -> None:
        """Let every stream look for what is due."""
        for stream in self._streams:
            stream.wake()

    async def stop(self, grace: float = 2.0) -> None:
        """End every stream in an orderly way: clients keep what they have and come back."""
        self._draining = True
        for stream in tuple(self._streams):
            stream.close()
        self._load_reports.close()
        if self._server is not None:
            await self._server.stop(grace)
        if self._front is not None:
            await self._front.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stream(
        self, messages: AsyncIterator[Any], grpc_call: Any, *, delta: bool, type_url: str
    ) -> None:
        """One stream, from its first request to its end."""
        async with self._room(grpc_call) as caller:
            first = await anext(messages, None)
            if first is None:
                return
            with self._known(first, caller) as node:
                stream = self._made(node, caller, delta=delta, type_url=type_url)
                with self._registered(stream, node, caller.address) as client:
                    await stream.converse(client, first, messages, grpc_call)

    async def fetch(self, message: Any, grpc_call: Any, *, type_url: str) -> Any:
        """A single answer: what there is of what is asked for."""
        async with self._room(grpc_call) as caller:
            with self._known(message, caller) as node:
                snapshot = self._cache.snapshot_of(node)
                if snapshot is None:
                    said = f"there is nothing for {node.id} yet"
                    return await grpc_call.abort(grpc.StatusCode.UNAVAILABLE, said)
                return fetched(message, node, snapshot, type_url)

    @asynccontextmanager
    async def _room(self, grpc_call: Any) -> AsyncIterator[Caller]:
        """Let a stream in if there is room; what is raised inside becomes its status."""
        if self._draining:
            said = "the control plane is draining"
            await grpc_call.abort(grpc.StatusCode.UNAVAILABLE, said)
        self._open += 1
        try:
            self._check_room()
            yield self._gate.admit(grpc_call)
        except DeniedError as denied:
            self.status.metrics.refused_streams["denied"] += 1
            LOG.warning("a stream is refused: %s", denied)
            await grpc_call.abort(denied.code, str(denied))
        except ExcessError as excess:
            self.status.metrics.refused_streams[excess.reason] += 1
            await grpc_call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(excess))
        except RequestError as wrong:
            await grpc_call.abort(grpc.StatusCode.INVALID_ARGUMENT, str(wrong))
        except TimeoutError:
            said = f"the client read nothing for {self._limits.push_timeout:g} s"
            await grpc_call.abort(grpc.StatusCode.DEADLINE_EXCEEDED, said)
        finally:
            self._open -= 1

    @contextmanager
    def _known(self, first: Any, caller: Caller) -> Iterator[Node]:
        """Who begins a stream with this request; one may have so many at once."""
        if not first.HasField("node"):
            raise RequestError("the first request of a stream must carry the node")
        if first.node.ByteSize() > self._limits.node_bytes:
            raise ExcessError(f"a node of more than {self._limits.node_bytes} bytes", "node")
        node, most = node_of(first.node), self._limits.streams_per_node
        self._gate.check(caller, node)
        if self._by_node[node.id] >= most:
            raise ExcessError(f"{node.id} has {most} streams already", "streams_per_node")
        self._by_node[node.id] += 1
        try:
            yield node
        finally:
            self._by_node[node.id] -= 1
            if not self._by_node[node.id]:
                del self._by_node[node.id]

    def _made(self, node: Node, caller: Caller, *, delta: bool, type_url: str) -> Stream:
        number = next(self._numbers)
        stream = Stream(
            number,
            node,
            self.status,
            self._limits,
            delta=delta,
            type_url=type_url,
            ears=self._ears,
            settling=self._settling,
            secrets=None if self._secrets is None else self._secrets.of(caller),
        )
        if (left := self._gate.left(caller)) is not None:
            stream.close_after(left)  # who comes back has a newer certificate
        if self._limits.max_connection_age is not None:
            # Later than GOAWAY, whose jitter is 10 %, so that the client comes back elsewhere; and
            # not all of those that came together at one time.
            spread = 1.1 + number * GOLDEN_RATIO % 0.1
            stream.close_after(self._limits.max_connection_age * spread)
        return stream

    @contextmanager
    def _registered(self, stream: Stream, node: Node, peer: str) -> Iterator[Client]:
        self._streams.add(stream)
        LOG.info("%s connected (%s)", node.id, node.user_agent_name or "unknown client")
        try:
            with (
                self.status.connected(node, peer, stream.subscriptions) as client,
                self._cache.watching(node, stream.publish),
            ):
                yield client
        finally:
            self._streams.discard(stream)
            LOG.info("%s disconnected", node.id)

    def _check_room(self) -> None:
        if self._open > self._limits.streams:
            raise ExcessError("the control plane has too many streams", "streams")
        if not self._new_streams.try_take():
            raise ExcessError("too many new streams at once; come back later", "new_streams")

    def _options(self) -> list[tuple[str, int]]:
        options = [("grpc.max_receive_message_length", self._limits.request_bytes)]
        age = self._limits.max_connection_age
        if age is not None:
            # Streams end by themselves, later than GOAWAY; the grace is for those that do not.
            options.append(("grpc.max_connection_age_ms", max(1, int(age * 1000))))
            options.append(("grpc.max_connection_age_grace_ms", max(1000, int(age * 2000))))
        return options


@asynccontextmanager
async def serve(
    cache: SnapshotCache,
    listen: str = "127.0.0.1:18000",
    *,
    admin: str | None = None,
    admin_token: str | None = None,
    limits: Limits | None = None,
    credentials: grpc.ServerCredentials | None = None,
    wire: Wire | None = None,
) -> AsyncIterator[AdsServer]:
    """A control plane of one's own resources: ``async with serve(cache) as server``.

    Each resource is served as the cache has it, with nothing adapted to the kind of client.
    ``server.address`` is where clients find it, ``server.admin_address`` the admin interface.
    """
    made = AdsServer(cache, listen=listen, limits=limits, credentials=credentials, wire=wire)
    desk = Admin(made.status, admin, token=admin_token) if admin is not None else None
    async with made:
        if desk is not None:
            made.admin_address = await desk.start()
        try:
            with cache.observed(lambda snapshot: made.status.applied(snapshot.version)):
                yield made
        finally:
            if desk is not None:
                await desk.stop()
