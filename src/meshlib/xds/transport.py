"""The wire of ADS: one gRPC stream on a channel of its own. The only I/O of the client."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from ..errors import ConfigError, Problem
from .bootstrap import Node, Server
from .encodings import Request
from .messages import encode_request

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
METHODS = {
    False: f"{SERVICE}/StreamAggregatedResources",
    True: f"{SERVICE}/DeltaAggregatedResources",
}

KEEPALIVE = 30.0
"""Seconds of silence after which a connection is asked whether it is alive."""

OPTIONS = (
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A channel of ours never waits for the back-off of one before it: back-off is the client's.
    ("grpc.use_local_subchannel_pool", 1),
    # Nor does it call again by itself what a connection took down with it.
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """The request was taken by a connected transport."""

    stream: "Stream"
    request: Request


@dataclass(frozen=True, slots=True)
class Received:
    stream: "Stream"
    message: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """``unimplemented``: the server does not know the method; ``pings``: it had too many."""

    stream: "Stream"
    status: str
    unimplemented: bool = False
    pings: bool = False


News = Sent | Received | Ended


class Stream:
    """One ADS stream. What happens to it is posted; nothing here blocks its owner.

    A response is read only when :meth:`read` asks for it, so that a server which floods us fills
    its own buffers.
    """

    def __init__(
        self,
        server: Server,
        node: Node,
        post: Callable[[News], None],
        *,
        delta: bool = False,
        keepalive: float = KEEPALIVE,
    ) -> None:
        self.in_plain_text = server.shown is None and server.channel_creds.type == "insecure"
        self._node = node
        self._post = post
        self._outbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._turns: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._channel = open_channel(server, keepalive)
        stub: Any = self._channel.stream_stream(METHODS[delta])  # no serializers: bytes both ways
        self._call = stub(self._requests(), wait_for_ready=False)
        threading.Thread(target=self._receive, name="meshlib-ads-reader", daemon=True).start()
        self.read()

    def send(self, request: Request) -> None:
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
            self._post(_ended(self, error))


HUNG_UP = ("failed to connect", "Socket closed")
WANTS_TLS = (
    " (it was asked in plain text and hung up: a control plane that has a CA wants TLS, and a "
    "certificate, so this member needs an identity, such as by MESHLIB_CA_ROOT and a token)"
)


def _ended(stream: Stream, error: grpc.RpcError) -> Ended:
    if not isinstance(error, grpc.Call):
        return Ended(stream, str(error))
    code, details = error.code(), error.details() or ""
    wants_tls = stream.in_plain_text and all(words in details for words in HUNG_UP)
    return Ended(
        stream,
        f"{code.name}: {details}{WANTS_TLS * wants_tls}",
        unimplemented=code is grpc.StatusCode.UNIMPLEMENTED,
        pings="too_many_pings" in details,
    )


def pings(keepalive: float) -> tuple[tuple[str, int], ...]:
    """After so many seconds of silence; the answer has a third of that, and 10 s at most."""
    answer = round(min(keepalive / 3, 10.0) * 1000)
    return (
        ("grpc.keepalive_time_ms", round(keepalive * 1000)),
        ("grpc.keepalive_timeout_ms", answer),
        # A ping of another purpose that is under way stands in for one of these.
        ("grpc.http2.ping_timeout_ms", answer),
    )


def open_channel(server: Server, keepalive: float = KEEPALIVE) -> grpc.Channel:
    """Raises :class:`ConfigError` where a file of the credentials cannot be read."""
    options = (*OPTIONS, *pings(keepalive))
    if server.shown is not None:
        made = grpc.ssl_channel_credentials(*server.shown())
        return grpc.secure_channel(server.server_uri, made, options)
    if server.channel_creds.type == "insecure":
        return grpc.insecure_channel(server.server_uri, options)
    config = server.channel_creds.config
    # Read anew for each stream, so that rotated files are taken up.
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_file(config, "ca_certificate_file"),
        private_key=_file(config, "private_key_file"),
        certificate_chain=_file(config, "certificate_file"),
    )
    if server.token_file:
        token = grpc.metadata_call_credentials(TokenFile(server.token_file))
        credentials = grpc.composite_channel_credentials(credentials, token)
    return grpc.secure_channel(server.server_uri, credentials, options)


class TokenFile(grpc.AuthMetadataPlugin):
    """The token that the file holds when a call begins, so that a rotated one is taken up."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, context: Any, callback: Any) -> None:
        try:
            token = Path(self._path).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            callback((), error)
            return
        if not token:
            callback((), ConfigError(Problem("call_creds.config.jwt_token_file", "is empty")))
            return
        callback((("authorization", f"Bearer {token}"),), None)


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
