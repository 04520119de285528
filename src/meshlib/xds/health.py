"""The messages of gRPC's health checks (``grpc.health.v1``)."""

from typing import Any

from google.protobuf.message import DecodeError

from .protos import message_class

REQUEST = "grpc.health.v1.HealthCheckRequest"
RESPONSE = "grpc.health.v1.HealthCheckResponse"


def read_service(request: bytes) -> str | None:
    """The service that is asked for, "" for the server as a whole; ``None`` for no request."""
    made: Any = message_class(REQUEST)()
    try:
        made.ParseFromString(request)
    except DecodeError:
        return None
    service: str = made.service
    return service


def write_status(status: str) -> bytes:
    """``SERVING``, ``NOT_SERVING`` or ``SERVICE_UNKNOWN``."""
    made: Any = message_class(RESPONSE)(status=status)
    return bytes(made.SerializeToString())
