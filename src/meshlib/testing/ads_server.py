"""A tiny control plane on real sockets, that does what a test tells it, well-behaved or not."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc

from ..model import Snapshot
from ..xds.codec import encode
from ..xds.messages import DISCOVERY
from ..xds.protos import message_class
from .ads import rooms

PATIENCE = 20.0
NOT_FOUND = 5
SERVICE = f"{DISCOVERY}.AggregatedDiscoveryService"
METHODS = {
    "sotw": ("StreamAggregatedResources", False),
    "delta": ("DeltaAggregatedResources", True),
}


@dataclass(slots=True)
class _Asked:
    """The names of each type on one stream, and what there is to do."""

    news: "asyncio.Queue[str | None]" = field(default_factory=asyncio.Queue)
    names: dict[str, list[str]] = field(default_factory=dict)


class AdsServer:
    """Answers each new set of names, on an event loop of its own.

    ``encodings`` are the methods it knows. ``say`` is said in place of each response;
    ``answers`` is how many responses a stream gets before it is ended.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        credentials: grpc.ServerCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
        encodings: Sequence[str] = ("sotw", "delta"),
        snapshot: Snapshot | None = None,
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.snapshot = snapshot if snapshot is not None else Snapshot()
        self.version = "1"
        self.say: bytes | None = None
        self.answers: int | None = None
        self.nodes: list[str] = []
        self.nacks: list[str] = []
        self.tokens: list[str] = []
        self.known: list[dict[str, str]] = []
        self.streams = 0
        self.encodings = tuple(encodings)
        self._options = (("grpc.so_reuseport", 0), *options)
        self._credentials = credentials
        self._streams: set[asyncio.Queue[str | None]] = set()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.port: int = self._call(self._start(port))

    def serve(self, snapshot: Snapshot, version: str) -> None:
        async def push() -> None:
            self.snapshot, self.version, self.say = snapshot, version, None
            for stream in self._streams:
                stream.put_nowait("push")

        self._call(push())

    def end_streams(self) -> None:
        async def end() -> None:
            for stream in self._streams:
                stream.put_nowait(None)

        self._call(end())

    def stop(self) -> None:
        self._call(self._server.stop(None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _call(self, coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        return future.result(PATIENCE)

    async def _start(self, port: int) -> int:
        handlers: dict[str, Any] = {
            method: grpc.stream_stream_rpc_method_handler(partial(self._stream, delta=delta))
            for encoding, (method, delta) in METHODS.items()
            if encoding in self.encodings
        }
        self._server = grpc.aio.server(options=self._options)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        address = f"127.0.0.1:{port}"
        if self._credentials is None:
            bound = self._server.add_insecure_port(address)
        else:
            bound = self._server.add_secure_port(address, self._credentials)
        await self._server.start()
        return int(bound)

    async def _stream(
        self, requests: AsyncIterator[bytes], call: Any, *, delta: bool
    ) -> AsyncIterator[bytes]:
        self.streams += 1
        metadata = dict(call.invocation_metadata())
        self.tokens += [metadata["authorization"]] if "authorization" in metadata else []
        asked = _Asked()
        self._streams.add(asked.news)
        listening = asyncio.create_task(self._listen(requests, asked, delta=delta))
        given = 0
        try:
            while (what := await asked.news.get()) is not None:
                for type_url in list(asked.names) if what == "push" else [what]:
                    yield self.say or self._response(type_url, asked.names[type_url], delta=delta)
                    given += 1
                    if given == self.answers:
                        return
        finally:
            listening.cancel()
            self._streams.discard(asked.news)

    async def _listen(self, requests: AsyncIterator[bytes], asked: _Asked, *, delta: bool) -> None:
        name = "DeltaDiscoveryRequest" if delta else "DiscoveryRequest"
        async for raw in requests:
            request: Any = message_class(f"{DISCOVERY}.{name}").FromString(raw)
            if request.HasField("node"):
                self.nodes.append(request.node.id)
            if request.HasField("error_detail"):
                self.nacks.append(request.error_detail.message)
            before = asked.names.get(request.type_url, [])
            names = _subscribed(before, request) if delta else list(request.resource_names)
            if delta and request.initial_resource_versions:
                self.known.append(dict(request.initial_resource_versions))
            if names != before:
                asked.names[request.type_url] = names
                asked.news.put_nowait(request.type_url)

    def _response(self, type_url: str, names: list[str], *, delta: bool) -> bytes:
        name = "DeltaDiscoveryResponse" if delta else "DiscoveryResponse"
        response: Any = message_class(f"{DISCOVERY}.{name}")(type_url=type_url)
        response.nonce = str(time.monotonic_ns())
        setattr(response, "system_version_info" if delta else "version_info", self.version)
        room = rooms(self.snapshot)[type_url]
        for each in names:
            if each not in room:
                error = response.resource_errors.add()
                error.resource_name.name = each
                error.error_detail.code = NOT_FOUND
            elif delta:
                outer = response.resources.add(name=each, version=self.version)
                outer.resource.CopyFrom(encode(room[each]))
            else:
                response.resources.append(encode(room[each]))
        encoded: bytes = response.SerializeToString()
        return encoded


def _subscribed(before: Sequence[str], request: Any) -> list[str]:
    gone = set(request.resource_names_unsubscribe)
    kept = [name for name in before if name not in gone]
    return [*kept, *(n for n in request.resource_names_subscribe if n not in kept)]
