"""A client's side of the protocol in both encodings, by hand and over a real stream."""

import asyncio
import logging

import grpc
import pytest

from meshlib.controlplane import SnapshotCache, serve
from meshlib.controlplane.discovery import DeltaRequest, Request
from meshlib.controlplane.subscriptions import Subscriptions
from meshlib.controlplane.versions import PackedResource, PackedSnapshot, PackedType
from meshlib.model import (
    Cluster,
    ClusterLoadAssignment,
    HttpConnectionManager,
    Listener,
    Rds,
    RouteConfiguration,
)
from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

URLS = {"cds": CLUSTER, "eds": ENDPOINT, "lds": LISTENER, "rds": ROUTE}
KINDS = {url: kind for kind, url in URLS.items()}
DISCOVERY = "envoy.service.discovery.v3"


class Conversation:
    """Speaks with :class:`Subscriptions` in short words: resources are ``name@version``.

    In the delta encoding what is gone is said as ``-name``.
    """

    def __init__(self, *, delta=False):
        self.subscriptions = Subscriptions(delta=delta)
        self.delta = delta
        self.nonces = {}
        self._asked = {}

    def publish(self, version="1", **kinds):
        """``publish(cds="a@1 b@1", rds="r@1")``."""
        types = {
            url: PackedType(
                f"{kind}-{version}",
                {
                    name: PackedResource(url, name, content, None)
                    for name, content in (one.split("@") for one in kinds.get(kind, "").split())
                },
            )
            for kind, url in URLS.items()
        }
        self.subscriptions.publish(PackedSnapshot(version, types))

    def ask(self, kind, *names, nonce=None, error=None):
        """A request with the last nonce seen, unless another is given."""
        nonce = self.nonces.get(kind, "") if nonce is None else nonce
        if self.delta:
            before = self._asked.get(kind, set())
            self._asked[kind] = set(names)
            return self.change(
                kind,
                *(name for name in names if name not in before),
                without=before - set(names),
                nonce=nonce,
                error=error,
            )
        return self.subscriptions.receive(
            Request(type_url=URLS[kind], names=names, nonce=nonce, error=error)
        )

    def change(self, kind, *names, without=(), has=(), nonce="", error=None):
        """A request of the delta encoding: what else is wanted, what no longer, what is known."""
        return self.subscriptions.receive(
            DeltaRequest(
                type_url=URLS[kind],
                subscribe=names,
                unsubscribe=tuple(without),
                initial_versions=dict(one.split("@") for one in has),
                nonce=nonce,
                error=error,
            )
        )

    def accept(self, kind):
        """An ACK that asks for nothing else, whatever the encoding."""
        state = self.state(kind)
        names = (*(["*"] if state.wildcard else []), *state.names)
        return (
            self.ask(kind, *names) if not self.delta else self.change(kind, nonce=self.nonces[kind])
        )

    def pull(self):
        """What is due now: ``["cds a@1 b@1", …]``."""
        said = []
        while (response := self.subscriptions.next_response()) is not None:
            kind = KINDS[response.type_url]
            self.nonces[kind] = response.nonce
            contents = sorted(f"{r.name}@{r.version}" for r in response.resources)
            gone = (f"-{name}" for name in response.removed)
            said.append(" ".join([kind, *contents, *gone]))
        return said

    def state(self, kind):
        return self.subscriptions.types[URLS[kind]]


@pytest.fixture
def talk():
    return Conversation()


@pytest.fixture
def delta():
    return Conversation(delta=True)


@pytest.fixture(params=["sotw", "delta"])
def either(request):
    """For what holds in both encodings."""
    return Conversation(delta=request.param == "delta")


class RawStream:
    """To a real server; the node goes with its first request."""

    def __init__(self, call, node):
        self._call = call
        self._node = node

    async def _write(self, request, error):
        if self._node is not None:
            request.node.MergeFrom(self._node)
            self._node = None
        if error is not None:
            request.error_detail.message = error
        await self._call.write(request)

    async def next(self):
        response = await asyncio.wait_for(self._call.read(), 10)
        assert response is not grpc.aio.EOF, await self._call.code()
        return response

    async def ended(self):
        """The status with which the server ended the stream."""
        return await asyncio.wait_for(self._call.code(), 10)


class DeltaStream(RawStream):
    async def ask(self, kind, *names, without=(), has=(), nonce="", error=None):
        request = message_class(f"{DISCOVERY}.DeltaDiscoveryRequest")(
            type_url=URLS.get(kind, kind),
            resource_names_subscribe=names,
            resource_names_unsubscribe=without,
            initial_resource_versions=dict(has),
            response_nonce=nonce,
        )
        await self._write(request, error)

    async def accept(self):
        """The next response, acknowledged."""
        response = await self.next()
        await self.ask(response.type_url, nonce=response.nonce)
        return response


class AdsStream(RawStream):
    def __init__(self, call, node):
        super().__init__(call, node)
        self.last = {}

    async def ask(self, kind, *names, error=None):
        last = self.last.get(kind)
        request = message_class(f"{DISCOVERY}.DiscoveryRequest")(
            type_url=URLS[kind],
            resource_names=names,
            response_nonce=last.nonce if last else "",
            version_info=last.version_info if last and error is None else "",
        )
        await self._write(request, error)

    async def next(self):
        response = await super().next()
        self.last[KINDS[response.type_url]] = response
        return response

    async def accept(self, *names):
        """The next response, acknowledged."""
        response = await self.next()
        await self.ask(KINDS[response.type_url], *names)
        return response


AGGREGATED = f"{DISCOVERY}.AggregatedDiscoveryService"


@pytest.fixture
async def connect():
    """``connect(address, user_agent=…, namespace=…)``: an open :class:`AdsStream`.

    With ``delta=True`` it is a :class:`DeltaStream`; ``service`` and ``method`` name others.
    """
    channels = []

    async def connected(
        address,
        *,
        user_agent="test",
        node_id="t",
        delta=False,
        service=AGGREGATED,
        method="AggregatedResources",
        features=(),
        **metadata,
    ):
        channel = grpc.aio.insecure_channel(address)
        channels.append(channel)
        encoding = "Delta" if delta else ""
        stream = channel.stream_stream(
            f"/{service}/{encoding or 'Stream'}{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(
                f"{DISCOVERY}.{encoding}DiscoveryResponse"
            ).FromString,
        )
        node = message_class("envoy.config.core.v3.Node")(
            id=node_id, user_agent_name=user_agent, client_features=features
        )
        node.metadata.update(metadata)
        return (DeltaStream if delta else AdsStream)(stream(), node)

    yield connected
    for channel in channels:
        await channel.close()


@pytest.fixture
def said():
    """``await said("refused")``: the first line from now on in the log that says so."""
    lines = asyncio.Queue()
    handler = logging.Handler()
    handler.emit = lambda record: lines.put_nowait(record.getMessage())
    log = logging.getLogger("meshlib.controlplane")
    log.addHandler(handler)

    async def until(text):
        async with asyncio.timeout(20):
            while text not in (line := await lines.get()):
                pass
        return line

    yield until
    log.removeHandler(handler)


EVERYTHING = (
    Cluster(name="c", connect_timeout=1.0),
    ClusterLoadAssignment(cluster_name="c"),
    Listener(name="l", http=HttpConnectionManager(routes=Rds("r"))),
    RouteConfiguration(name="r"),
)


def all_alike(_node):
    return "all"


@pytest.fixture
def cache():
    made = SnapshotCache(all_alike, check=False)
    made.set_snapshot("all", EVERYTHING, version="1")
    return made


@pytest.fixture
async def server(cache):
    async with serve(cache, "127.0.0.1:0") as running:
        yield running
