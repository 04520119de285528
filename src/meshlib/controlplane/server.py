"""The ADS server: aggregated discovery over grpc.aio, and nothing but the wire."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict

from ..errors import MeshError
from ..model import Locality
from ..xds.protos import message_class
from .cache import SnapshotCache
from .node import ClientKind, Node
from .status import Client, Status, short
from .subscriptions import ExcessError, Request, Response, Subscriptions
from .versions import PackedSnapshot

LOG = logging.getLogger("meshlib.controlplane")
DISCOVERY = "envoy.service.discovery.v3"
NOT_FOUND = 5
MAX_REQUEST = 1_000_000
MAX_STREAMS = 20_000
PUSH_TIMEOUT = 30.0
OPTIONS = (
    ("grpc.so_reuseport", 0),  # two servers that share a port would share its clients by chance
    ("grpc.max_receive_message_length", MAX_REQUEST),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients are told to ping every 30 s; a server that takes that for a flood hangs up.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)


class AdsServer:
    """Serves what a :class:`SnapshotCache` holds. Belongs to the loop that started it."""

    def __init__(self, cache: SnapshotCache, status: Status, listen: str) -> None:
        self._cache = cache
        self._status = status
        self._listen = listen
        self._server: grpc.aio.Server | None = None
        self._streams: set[_Stream] = set()
        self._draining = False

    async def start(self) -> str:
        """Listen; returns ``host:port`` with the real port.

        Raises :class:`MeshError` if the address cannot be had.
        """
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((_handlers(self),))
        host = self._listen.rpartition(":")[0]
        try:
            port = server.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise MeshError(f"cannot listen on {self._listen}: is the port taken?") from error
        await server.start()
        self._server = server
        return f"{host}:{port}"

    async def stop(self, grace: float = 2.0) -> None:
        """End every stream in an orderly way: clients keep what they have and come back."""
        self._draining = True
        for stream in tuple(self._streams):
            stream.close()
        if self._server is not None:
            await self._server.stop(grace)

    async def stream(self, messages: AsyncIterator[Any], grpc_call: Any) -> None:
        if self._draining or len(self._streams) >= MAX_STREAMS:
            why = "draining" if self._draining else "too many streams"
            await grpc_call.abort(grpc.StatusCode.UNAVAILABLE, f"the control plane is {why}")
        first = await anext(messages, None)
        if first is None:
            return
        if not first.HasField("node"):
            said = "the first request of a stream must carry the node"
            await grpc_call.abort(grpc.StatusCode.INVALID_ARGUMENT, said)
        node = _node(first.node)
        stream = _Stream(self._status, node)
        with self._registered(stream, node, grpc_call.peer()) as client:
            try:
                stream.receive(client, first)
                await stream.converse(client, messages, grpc_call)
            except ExcessError as excess:
                await grpc_call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(excess))
            except TimeoutError:
                said = f"the client read nothing for {PUSH_TIMEOUT:.0f} s"
                await grpc_call.abort(grpc.StatusCode.DEADLINE_EXCEEDED, said)

    @contextmanager
    def _registered(self, stream: "_Stream", node: Node, peer: str) -> Iterator[Client]:
        self._streams.add(stream)
        LOG.info("%s connected (%s)", node.id, node.user_agent_name or "unknown client")
        try:
            with (
                self._status.connected(node, peer, stream.subscriptions) as client,
                self._cache.watching(node, stream.publish),
            ):
                yield client
        finally:
            self._streams.discard(stream)
            LOG.info("%s disconnected", node.id)


class _Stream:
    """One client's stream: a reader that only notes, and a writer that pulls what is due."""

    def __init__(self, status: Status, node: Node) -> None:
        self.subscriptions = Subscriptions()
        self._status = status
        self._node = node
        self._news = asyncio.Event()
        self._closed = False
        self._unknown: set[str] = set()

    def publish(self, snapshot: PackedSnapshot) -> None:
        self.subscriptions.publish(snapshot)
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    def receive(self, client: Client, message: Any) -> None:
        request = _request(message)
        nack = self.subscriptions.receive(request)
        self._status.seen(client, request.type_url, nack)
        if nack is not None:
            LOG.warning(
                "%s refused %s %s (%s): %s",
                self._node.id,
                short(request.type_url),
                nack.version,
                ", ".join(nack.resources),
                nack.text,
            )
        if request.type_url not in self.subscriptions.types and len(self._unknown) < 10:
            if request.type_url not in self._unknown:
                LOG.info("%s asks for %r, which is not served", self._node.id, request.type_url)
            self._unknown.add(request.type_url)
        self._news.set()

    async def converse(self, client: Client, messages: AsyncIterator[Any], grpc_call: Any) -> None:
        reader = asyncio.create_task(self._read(client, messages))
        try:
            while not self._closed:
                await self._news.wait()
                self._news.clear()
                await self._write_due(grpc_call)
            if reader.done():
                reader.result()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _write_due(self, grpc_call: Any) -> None:
        while not self._closed:
            response = self.subscriptions.next_response()
            if response is None:
                return
            async with asyncio.timeout(PUSH_TIMEOUT):
                await grpc_call.write(_message(response, self._node.kind))

    async def _read(self, client: Client, messages: AsyncIterator[Any]) -> None:
        try:
            async for message in messages:
                self.receive(client, message)
        finally:
            self.close()


def _handlers(server: AdsServer) -> grpc.GenericRpcHandler:
    handler: Any = grpc.stream_stream_rpc_method_handler(
        server.stream,
        request_deserializer=message_class(f"{DISCOVERY}.DiscoveryRequest").FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
    return grpc.method_handlers_generic_handler(
        f"{DISCOVERY}.AggregatedDiscoveryService", {"StreamAggregatedResources": handler}
    )


def _request(message: Any) -> Request:
    return Request(
        type_url=message.type_url,
        names=tuple(message.resource_names),
        version=message.version_info,
        nonce=message.response_nonce,
        error=message.error_detail.message if message.HasField("error_detail") else None,
    )


def _message(response: Response, kind: ClientKind) -> Any:
    message: Any = message_class(f"{DISCOVERY}.DiscoveryResponse")(
        type_url=response.type_url, version_info=response.version, nonce=response.nonce
    )
    message.resources.extend(resource.packed for resource in response.resources)
    if kind is ClientKind.MESHLIB:  # others may not know the field
        for name in response.missing:
            error = message.resource_errors.add()
            error.resource_name.name = name
            error.error_detail.code = NOT_FOUND
            error.error_detail.message = f"{name!r} is not of the mesh"
    message.control_plane.identifier = "meshlib"
    return message


def _node(message: Any) -> Node:
    metadata = MessageToDict(message.metadata)
    labels = metadata.get("LABELS")
    namespace = metadata.get("NAMESPACE")
    pairs = labels.items() if isinstance(labels, dict) else ()
    place = message.locality
    return Node(
        id=message.id or "(no id)",
        cluster=message.cluster,
        namespace=namespace if namespace and isinstance(namespace, str) else "default",
        labels=tuple(sorted((key, value) for key, value in pairs if isinstance(value, str))),
        user_agent_name=message.user_agent_name,
        user_agent_version=message.user_agent_version,
        locality=Locality(place.region, place.zone, place.sub_zone),
    )
