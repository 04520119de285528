"""A short cut for endpoints, of which there are thousands.

What is usual is read straight from the message, and the fields that are set are counted: with
more of them than were read, or with anything odd, the answer is ``None`` and the caller goes the
careful way, through a :class:`Reader`, which costs four times as much.
"""

import socket
from functools import lru_cache
from typing import Any

from ...model import Address, Endpoint, HealthStatus
from ..protos import message_class
from .metadata import EMPTY, read_metadata

HEALTH = tuple(HealthStatus)
"""By number: the enum stands in the order of the proto."""
SHARED = 32_768
"""Endpoints that are remembered at most; each is about 1 kB."""


def shared_endpoint(message: Any, *, dns: bool) -> Endpoint | None:
    """:func:`plain_endpoint`, but those that come again, as nearly all do, are the same objects.

    Nothing is read twice then, and equality is seen at once. Above all, nothing new is there for
    the garbage collector, which would stop every thread for it.
    """
    return _shared(message.SerializeToString(), dns)


@lru_cache(maxsize=SHARED)
def _shared(encoded: bytes, dns: bool) -> Endpoint | None:
    message = message_class("envoy.config.endpoint.v3.LbEndpoint").FromString(encoded)
    return None if _has_unknown_fields(message) else plain_endpoint(message, dns=dns)


def _has_unknown_fields(message: Any) -> bool:
    """Whether any message within has fields that are newer than our protos."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return bool(known.ByteSize() != message.ByteSize())


def plain_endpoint(message: Any, *, dns: bool) -> Endpoint | None:
    """The endpoint, if all that is set in an ``LbEndpoint`` is plain and valid."""
    host, health = message.endpoint, message.health_status
    weighted, noted = message.HasField("load_balancing_weight"), message.HasField("metadata")
    weight = message.load_balancing_weight.value if weighted else 1
    if len(message.ListFields()) != 1 + bool(health) + weighted + noted:
        return None
    if len(host.ListFields()) != 1 + bool(host.hostname):
        return None
    address = _plain_address(host.address, dns=dns)
    if address is None or weight < 1 or not 0 <= health < len(HEALTH):
        return None
    if noted and message.metadata.typed_filter_metadata:
        return None
    metadata = read_metadata(message.metadata) if noted else EMPTY
    if metadata is None:
        return None
    return Endpoint(
        address=address,
        hostname=host.hostname,
        health_status=HEALTH[health],
        load_balancing_weight=weight,
        metadata=metadata,
    )


def _plain_address(message: Any, *, dns: bool) -> Address | None:
    tcp = message.socket_address
    host, port = tcp.address, tcp.port_value
    if not 0 < port < 65536 or not host or not (dns or is_ip(host)):
        return None
    # A "protocol" of TCP is the default, and so not among the fields that are set.
    if len(tcp.ListFields()) != 2:
        return None
    return Address(host, port)


def is_ip(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, ValueError):  # ValueError: a NUL character
        return False
    return True
