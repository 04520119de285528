"""What a client runs on, as those want to hear it who ask over CSDS (gRFC A40, A71, A88)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import DecodeError

from ..model import Snapshot
from .bootstrap import Node
from .codec import encode
from .messages import write_node
from .protos import message_class
from .types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME
from .watches import Entry, ResourceState

STATUS = "envoy.service.status.v3"


class NotAnsweredError(ValueError):
    """A question that is none, or that a client has no answer to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client of control planes; ``scope`` says what for, where there are several."""

    node: Node
    entries: Iterable[Entry]
    scope: str = ""


def answer(request: bytes, clients: Iterable[Client], wall: Callable[[float], float]) -> bytes:
    """The ``ClientStatusResponse`` to a ``ClientStatusRequest``.

    ``wall`` makes seconds since 1970 of a reading of the clients' clock. Raises
    :class:`NotAnsweredError`.
    """
    try:
        asked: Any = message_class(f"{STATUS}.ClientStatusRequest").FromString(request)
    except DecodeError as error:
        raise NotAnsweredError(f"not a ClientStatusRequest: {error}") from error
    if asked.node_matchers:
        # They choose among the clients of a control plane; here is but one node (gRFC A40).
        raise NotAnsweredError("node_matchers are not supported")
    response: Any = message_class(f"{STATUS}.ClientStatusResponse")()
    for client in clients:
        config = response.config.add()
        write_node(client.node, config.node)
        config.client_scope = client.scope
        for entry in client.entries:
            made = config.generic_xds_configs.add()
            _describe(entry, made, wall)
            if entry.resource is not None and not asked.exclude_resource_contents:
                made.xds_config.CopyFrom(encode(entry.resource))
    answered: bytes = response.SerializeToString(deterministic=True)
    return answered


def entries_of(snapshot: Snapshot) -> tuple[Entry, ...]:
    """A configuration that no control plane sent: all of it is accepted."""
    rooms: dict[str, Any] = {
        LISTENER: snapshot.listeners,
        ROUTE: snapshot.routes,
        CLUSTER: snapshot.clusters,
        ENDPOINT: snapshot.endpoints,
        RUNTIME: snapshot.runtimes,
        EXTENSION: snapshot.extensions,
    }
    return tuple(
        Entry(
            type_url=type_url,
            name=name,
            state=ResourceState.ACKED,
            resource=resource,
            version=snapshot.version,
        )
        for type_url, room in rooms.items()
        for name, resource in room.items()
    )


def _describe(entry: Entry, made: Any, wall: Callable[[float], float]) -> None:
    states = made.DESCRIPTOR.fields_by_name["client_status"].enum_type.values_by_name
    made.type_url = entry.type_url
    made.name = entry.name
    made.client_status = states[entry.state.value].number
    if entry.resource is not None:
        made.version_info = entry.version
    if entry.updated is not None:
        made.last_updated.FromDatetime(_moment(wall(entry.updated)))
    if entry.error:
        made.error_state.details = entry.error
        made.error_state.version_info = entry.rejected_version
        if entry.rejected_at is not None:
            moment = _moment(wall(entry.rejected_at))
            made.error_state.last_update_attempt.FromDatetime(moment)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
