"""The wire of registration: ``meshlib.registration.v1.RegistrationService``, both ends of it.

A client says what it is, the server acknowledges, and from then on each empty request is a
heartbeat that is acknowledged too. ``deregister`` ends it.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from .bootstrap_servers import Server
from .protos import message_class
from .transport import open_channel

PACKAGE = "meshlib.registration.v1"
SERVICE = f"{PACKAGE}.RegistrationService"
REFUSALS = frozenset({"UNAUTHENTICATED", "INVALID_ARGUMENT", "UNIMPLEMENTED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A place where a service runs, as its own process tells of it.

    ``port`` is that of every port of its services but those in ``ports``, which go by name.
    ``address`` "" is the one from which it speaks; ``locality`` is ``region/zone/sub_zone``.
    ``service_account`` is not told, but read off its certificate.
    """

    id: str
    namespace: str = "default"
    address: str = ""
    port: int = 0
    ports: tuple[tuple[str, int], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    locality: str = ""
    weight: int = 1
    serving: bool = True
    service_account: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Without ``workload`` it is a heartbeat.

    ``mtls`` is "auto", "strict" or "off", and "" for a member without an identity;
    ``plaintext_callers`` are how many calls came in plain text, by who made them.
    """

    workload: Workload | None = None
    deregister: bool = False
    mtls: str = ""
    plaintext_callers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """``lease`` in seconds; ``hosts`` are those that the workload is an endpoint of now."""

    lease: float = 10.0
    address: str = ""
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """``refused``: the same request would be refused again."""

    status: str
    refused: bool = False


News = tuple["RegisterStream", Acknowledged | Ended]


class RegisterStream:
    """One stream. What happens to it is posted; nothing here blocks its owner."""

    def __init__(self, server: Server, token: str | None, post: Callable[[News], None]) -> None:
        self._post = post
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._channel = open_channel(server)
        stub: Any = self._channel.stream_stream(f"/{SERVICE}/Register")  # bytes both ways
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._call = stub(iter(self._outbox.get, None), metadata=metadata)
        name = "meshlib-registration-reader"
        threading.Thread(target=self._receive, name=name, daemon=True).start()

    def send(self, request: Request) -> None:
        self._outbox.put(encode_request(request))

    def close(self) -> None:
        self._call.cancel()
        self._outbox.put(None)
        self._channel.close()

    def _receive(self) -> None:
        try:
            for message in self._call:
                self._post((self, decode_response(message)))
            self._post((self, Ended("the control plane ended the stream")))
        except DecodeError as error:
            self._post((self, Ended(f"the control plane sent garbage: {error}")))
        except grpc.RpcError as error:
            self._post((self, _ended(error)))


def _ended(error: grpc.RpcError) -> Ended:
    if not isinstance(error, grpc.Call):
        return Ended(str(error))
    name = error.code().name
    return Ended(f"{name}: {error.details()}", refused=name in REFUSALS)


def encode_request(request: Request) -> bytes:
    message: Any = message_class(f"{PACKAGE}.RegisterRequest")(deregister=request.deregister)
    message.mtls = request.mtls
    message.plaintext_callers.update(dict(request.plaintext_callers))
    if request.workload is not None:
        told = request.workload
        message.workload.SetInParent()
        made = message.workload
        made.id, made.namespace, made.address = told.id, told.namespace, told.address
        made.port, made.weight, made.serving = told.port, told.weight, told.serving
        made.locality = told.locality
        made.ports.update(dict(told.ports))
        made.labels.update(dict(told.labels))
    return bytes(message.SerializeToString(deterministic=True))


def decode_request(content: bytes) -> Request:
    """Raises :class:`DecodeError` for bytes that are none."""
    message: Any = message_class(f"{PACKAGE}.RegisterRequest").FromString(content)
    told_too: dict[str, Any] = {
        "mtls": message.mtls,
        "plaintext_callers": tuple(sorted(message.plaintext_callers.items())),
    }
    if not message.HasField("workload"):
        return Request(deregister=message.deregister, **told_too)
    told = message.workload
    workload = Workload(
        id=told.id,
        namespace=told.namespace or "default",
        address=told.address,
        port=told.port,
        ports=tuple(sorted(told.ports.items())),
        labels=tuple(sorted(told.labels.items())),
        locality=told.locality,
        weight=told.weight,
        serving=told.serving,
    )
    return Request(workload=workload, deregister=message.deregister, **told_too)


def encode_response(answer: Acknowledged) -> bytes:
    message: Any = message_class(f"{PACKAGE}.RegisterResponse")(
        lease_seconds=answer.lease, address=answer.address, hosts=answer.hosts
    )
    return bytes(message.SerializeToString(deterministic=True))


def decode_response(content: bytes) -> Acknowledged:
    """Raises :class:`DecodeError` for bytes that are none."""
    message: Any = message_class(f"{PACKAGE}.RegisterResponse").FromString(content)
    return Acknowledged(
        lease=message.lease_seconds, address=message.address, hosts=tuple(message.hosts)
    )
