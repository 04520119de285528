"""The model ⇄ protobuf: the only door between the two."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message

from ...errors import ConfigError, Problem
from ...model import (
    Cluster,
    ClusterLoadAssignment,
    ExtensionConfig,
    Listener,
    RouteConfiguration,
    Snapshot,
    gather,
)
from ...model.runtime import RuntimeLayer
from ...model.security import Secret
from ..protos import from_json, message_class, to_json
from ..types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SECRET
from .cluster import decode_cluster, encode_cluster
from .endpoint import decode_load_assignment, encode_load_assignment
from .filter import decode_extension, encode_extension
from .listener import decode_listener, encode_listener
from .route import decode_route_configuration, encode_route_configuration
from .runtime_layer import decode_runtime_layer, encode_runtime_layer
from .security import decode_secret, encode_secret
from .wire import Codec, InvalidResourceError, Reader, Report, packed

__all__ = [
    "Decoded",
    "InvalidResourceError",
    "Resource",
    "decode",
    "decode_snapshot",
    "encode",
    "encode_json",
]

Resource = (
    Listener
    | RouteConfiguration
    | Cluster
    | ClusterLoadAssignment
    | RuntimeLayer
    | ExtensionConfig
    | Secret
)

CODECS: dict[type[Resource], Codec] = {
    Listener: Codec("listeners", LISTENER, "name", encode_listener, decode_listener),
    RouteConfiguration: Codec(
        "routes", ROUTE, "name", encode_route_configuration, decode_route_configuration
    ),
    Cluster: Codec("clusters", CLUSTER, "name", encode_cluster, decode_cluster),
    ClusterLoadAssignment: Codec(
        "endpoints", ENDPOINT, "cluster_name", encode_load_assignment, decode_load_assignment
    ),
    RuntimeLayer: Codec("runtimes", RUNTIME, "name", encode_runtime_layer, decode_runtime_layer),
    ExtensionConfig: Codec("extensions", EXTENSION, "name", encode_extension, decode_extension),
    Secret: Codec("secrets", SECRET, "name", encode_secret, decode_secret),
}
BY_TYPE_URL = {codec.type_url: codec for codec in CODECS.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """``ignored``: paths of the fields that are set but have no effect here."""

    name: str
    resource: Resource
    ignored: tuple[str, ...] = ()


def encode(resource: Resource) -> Any:
    """The resource as a ``google.protobuf.Any`` of our pool; equal resources, equal bytes."""
    codec = CODECS[type(resource)]
    return packed(codec.message_name, codec.encode(resource))


def encode_json(resource: Resource) -> dict[str, Any]:
    """The resource as proto-JSON with its ``@type``."""
    return to_json(encode(resource))


def decode(type_url: str, value: bytes) -> Decoded:
    """Raises :class:`InvalidResourceError` (a :class:`ConfigError`) with every problem found."""
    codec = BY_TYPE_URL.get(type_url)
    if codec is None:
        raise ConfigError(f"unknown resource type {type_url!r}")
    message = _parsed(codec, value)
    name: str = getattr(message, codec.name_field)
    report = Report(f"{codec.room}/{name}" if name else codec.room)
    reader = Reader(message, report)
    resource = codec.decode(reader)
    if report.problems:
        raise InvalidResourceError(type_url, name, *report.problems)
    return Decoded(name=name, resource=resource, ignored=report.ignored())


def decode_snapshot(resources: Iterable[Mapping[str, Any]]) -> Snapshot:
    """A snapshot of resources in proto-JSON, each with its ``@type``.

    Secrets are refused: a snapshot is shown and kept, a key never is. Raises
    :class:`ConfigError` with the problems of all resources.
    """
    rooms: dict[str, list[Any]] = {codec.room: [] for codec in CODECS.values()}
    problems: list[Problem] = []
    for index, resource in enumerate(resources):
        try:
            message = from_json(resource, where=f"resources[{index}]")
            decoded = decode(message.type_url, message.value)
        except ConfigError as invalid:
            problems += invalid.problems
        else:
            if isinstance(decoded.resource, Secret):
                problems.append(Problem(f"secrets/{decoded.name}", "has no place in a snapshot"))
                continue
            rooms[CODECS[type(decoded.resource)].room].append(decoded.resource)
    if problems:
        raise ConfigError(*problems)
    return gather(
        listeners=rooms["listeners"],
        routes=rooms["routes"],
        clusters=rooms["clusters"],
        endpoints=rooms["endpoints"],
        runtimes=rooms["runtimes"],
        extensions=rooms["extensions"],
    )


def _parsed(codec: Codec, value: bytes) -> Message:
    try:
        return message_class(codec.message_name).FromString(value)
    except DecodeError as garbage:
        problem = Problem(codec.room, f"not a valid {codec.message_name}: {garbage}")
        raise InvalidResourceError(codec.type_url, "", problem) from garbage
