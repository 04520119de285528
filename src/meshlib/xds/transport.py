"""The wire of ADS: one gRPC stream on a channel of its own. The only I/O of the client."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from ..errors import ConfigError, Problem
from .ads import SendRequest
from .bootstrap import Node, Server
from .protos import message_class
from .responses import RawResource, ResourceError, ResponseReceived

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
DISCOVERY = "envoy.service.discovery.v3"
RESOURCE = f"type.googleapis.com/{DISCOVERY}.Resource"
CLIENT_FEATURES = ("envoy.lb.does_not_support_overprovisioning", "xds.config.resource-in-sotw")
INVALID_ARGUMENT = 3

OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A channel of ours never waits for the back-off of one before it: back-off is the client's.
    ("grpc.use_local_subchannel_pool", 1),
)


class GarbageError(Exception):
    """What came is not a DiscoveryResponse."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The request was taken by a connected transport."""

    stream: "Stream"
    request: SendRequest


@dataclass(frozen=True, slots=True)
class Received:
    stream: "Stream"
    message: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    stream: "Stream"
    status: str


News = Sent | Received | Ended


class Stream:
    """One ADS stream. What happens to it is posted; nothing here blocks its owner.

    A response is read only when :meth:`read` asks for it, so that a server which floods us fills
    its own buffers.
    """

    def __init__(self, server: Server, node: Node, post: Callable[[News], None]) -> None:
        self._node = node
        self._post = post
        self._outbox: queue.SimpleQueue[SendRequest | None] = queue.SimpleQueue()
        self._turns: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._channel = open_channel(server)
        stub: Any = self._channel.stream_stream(METHOD)  # no serializers: bytes both ways
        self._call = stub(self._requests(), wait_for_ready=False)
        threading.Thread(target=self._receive, name="meshlib-ads-reader", daemon=True).start()
        self.read()

    def send(self, request: SendRequest) -> None:
        self._outbox.put(request)

    def read(self) -> None:
        self._turns.put(True)

    def close(self) -> None:
        self._call.cancel()
        self._turns.put(False)
        self._outbox.put(None)
        self._channel.close()

    def _requests(self) -> Iterator[bytes]:
        while (request := self._outbox.get()) is not None:
            yield encode_request(request, self._node)
            # gRPC asks for the next request when a connected transport has taken the last.
            self._post(Sent(self, request))

    def _receive(self) -> None:
        try:
            while self._turns.get():
                self._post(Received(self, next(self._call)))
        except StopIteration:
            self._post(Ended(self, "the control plane ended the stream"))
        except grpc.RpcError as error:
            self._post(Ended(self, _status(error)))


def _status(error: grpc.RpcError) -> str:
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error)


def open_channel(server: Server) -> grpc.Channel:
    """Raises :class:`ConfigError` where a file of the credentials cannot be read."""
    if server.channel_creds.type == "insecure":
        return grpc.insecure_channel(server.server_uri, OPTIONS)
    config = server.channel_creds.config
    # Read anew for each stream, so that rotated files are taken up.
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_file(config, "ca_certificate_file"),
        private_key=_file(config, "private_key_file"),
        certificate_chain=_file(config, "certificate_file"),
    )
    return grpc.secure_channel(server.server_uri, credentials, OPTIONS)


def can_connect(server: Server, timeout: float) -> bool:
    """Is there a gRPC server that lets us in, within so many seconds?"""
    with open_channel(server) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout)
        except grpc.FutureTimeoutError:
            return False
        return True


def _file(config: Any, name: str) -> bytes | None:
    if not config.get(name):
        return None
    try:
        return Path(config[name]).read_bytes()
    except OSError as error:
        raise ConfigError(Problem(f"channel_creds.config.{name}", str(error))) from error


def encode_request(request: SendRequest, node: Node) -> bytes:
    message: Any = message_class(f"{DISCOVERY}.DiscoveryRequest")()
    message.type_url = request.type_url
    message.resource_names.extend(request.names)
    message.version_info = request.version
    message.response_nonce = request.nonce
    if request.first:
        json_format.ParseDict(_node(node), message.node)
    if request.error:
        message.error_detail.code = INVALID_ARGUMENT
        message.error_detail.message = request.error
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def _node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "cluster": node.cluster,
        "metadata": dict(node.metadata),
        "locality": dict(node.locality),
        "user_agent_name": node.user_agent_name,
        "user_agent_version": node.user_agent_version or _version(),
        "client_features": list(CLIENT_FEATURES),
    }


@cache
def _version() -> str:
    try:
        return version("meshlib-proxyless")
    except PackageNotFoundError:  # run from its sources
        return ""


def decode_response(message: bytes) -> ResponseReceived:
    """Raises :class:`GarbageError` for bytes that are no DiscoveryResponse."""
    try:
        response: Any = message_class(f"{DISCOVERY}.DiscoveryResponse").FromString(message)
    except DecodeError as error:
        raise GarbageError(f"the control plane sent garbage: {error}") from error
    return ResponseReceived(
        type_url=response.type_url,
        version=response.version_info,
        nonce=response.nonce,
        resources=tuple(map(_resource, response.resources)),
        errors=tuple(
            ResourceError(e.resource_name.name, e.error_detail.code, e.error_detail.message)
            for e in response.resource_errors
        ),
    )


def _resource(packed: Any) -> RawResource:
    if packed.type_url != RESOURCE:
        return RawResource(packed.type_url, packed.value)
    try:
        outer: Any = message_class(f"{DISCOVERY}.Resource").FromString(packed.value)
    except DecodeError:
        return RawResource(packed.type_url, packed.value)  # refused by its type
    ttl = outer.ttl.ToNanoseconds() / 1e9 if outer.HasField("ttl") else None
    name = outer.name or outer.resource_name.name
    if not outer.HasField("resource"):
        return RawResource("", None, name, ttl)
    return RawResource(outer.resource.type_url, outer.resource.value, name, ttl)
