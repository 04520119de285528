"""Discovery requests and responses ⇄ their protobuf, in both encodings."""

from typing import Any

from google.protobuf.json_format import MessageToDict

from ..model import Locality
from ..xds.protos import message_class
from .discovery import DeltaRequest, Request, RequestError, Response
from .node import ClientKind, Node
from .scope import Sidecar
from .versions import PackedResource

DISCOVERY = "envoy.service.discovery.v3"
NOT_FOUND = 5
NANOS = 1_000_000_000
TTL = "xds.config.supports-resource-ttl"
"""The feature of a client that forgets what it hears no more of."""
MAX_TEXT = 4096
MAX_ID = 512


def request_class(*, delta: bool) -> Any:
    return message_class(f"{DISCOVERY}.{'Delta' if delta else ''}DiscoveryRequest")


def request_of(message: Any, type_url: str, *, delta: bool) -> Request | DeltaRequest:
    """``type_url`` is that of the service; only the aggregated one leaves it to the message.

    Raises :class:`RequestError` where the two disagree, or neither says.
    """
    if not (message.type_url or type_url):
        raise RequestError("a request of the aggregated service must name a type")
    if type_url and message.type_url not in ("", type_url):
        raise RequestError(f"this service is that of {type_url}, not {message.type_url}")
    refuses = message.HasField("error_detail")
    error = plain(message.error_detail.message, MAX_TEXT) if refuses else None
    if not delta:
        return Request(
            type_url=message.type_url or type_url,
            names=tuple(message.resource_names),
            version=message.version_info,
            nonce=message.response_nonce,
            error=error,
        )
    return DeltaRequest(
        type_url=message.type_url or type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=error,
    )


def message_of(response: Response, node: Node, *, delta: bool) -> Any:
    message = _delta(response, node) if delta else _state_of_the_world(response, node)
    message.control_plane.identifier = "meshlib"
    return message


def shown(response: Response) -> dict[str, Any]:
    """The response in words of proto-JSON, its resources by name and version."""
    return {
        "type_url": response.type_url,
        "version_info": response.version,
        "nonce": response.nonce,
        "resources": [
            {"name": r.name, "version": r.version} for r in (*response.resources, *response.beats)
        ],
        "removed_resources": list(response.removed),
    }


def node_of(message: Any) -> Node:
    try:
        metadata = MessageToDict(message.metadata)
    except ValueError as strange:  # numbers that are none
        raise RequestError(f"the metadata of the node: {strange}") from None
    labels = metadata.get("LABELS")
    pairs = labels.items() if isinstance(labels, dict) else ()
    place = message.locality
    return Node(
        id=plain(message.id, MAX_ID) or "(no id)",
        cluster=message.cluster,
        namespace=_text(metadata, "NAMESPACE") or "default",
        labels=tuple(sorted((key, value) for key, value in pairs if isinstance(value, str))),
        user_agent_name=plain(message.user_agent_name, MAX_ID),
        user_agent_version=plain(message.user_agent_version, MAX_ID),
        takes_ttl=TTL in message.client_features,
        service_account=_text(metadata, "SERVICE_ACCOUNT"),
        locality=Locality(place.region, place.zone, place.sub_zone),
        sidecar=Sidecar(
            listen_address=_text(metadata, "MESHLIB_LISTEN_ADDRESS") or "127.0.0.1",
            inbound_address=_text(metadata, "MESHLIB_INBOUND_ADDRESS"),
        ),
    )


def takes_ttl(node: Node, *, delta: bool) -> bool:
    """Envoy does not say that it does; of states of the world with it, version 1.40 dies."""
    return node.takes_ttl or (delta and node.kind is ClientKind.ENVOY)


def plain(text: str, limit: int) -> str:
    """What a stranger says, fit for a log and a terminal: one line, and nothing that acts."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text[:limit])
    return f"{shown}…" if len(text) > limit else shown


def _text(metadata: dict[str, Any], key: str) -> str:
    value = metadata.get(key)
    return value if isinstance(value, str) else ""


def _state_of_the_world(response: Response, node: Node) -> Any:
    message: Any = message_class(f"{DISCOVERY}.DiscoveryResponse")(
        type_url=response.type_url, version_info=response.version, nonce=response.nonce
    )
    version = response.version  # Envoy compares it with that of the response
    for resource in response.resources:
        if resource.ttl is not None and takes_ttl(node, delta=False):
            message.resources.add().Pack(_wrapped(resource, version, resource.packed, lives=True))
        else:
            message.resources.append(resource.packed)
    for resource in response.beats:
        message.resources.add().Pack(_wrapped(resource, version, None, lives=True))
    if node.kind is ClientKind.MESHLIB:  # others may not know the field
        for name in response.missing:
            error = message.resource_errors.add()
            error.resource_name.name = name
            error.error_detail.code = NOT_FOUND
            error.error_detail.message = f"{name!r} is not of the mesh"
    return message


def _delta(response: Response, node: Node) -> Any:
    message: Any = message_class(f"{DISCOVERY}.DeltaDiscoveryResponse")(
        type_url=response.type_url,
        system_version_info=response.version,
        nonce=response.nonce,
        removed_resources=response.removed,
    )
    lives = takes_ttl(node, delta=True)
    for one in response.resources:
        message.resources.append(_wrapped(one, one.version, one.packed, lives=lives))
    for one in response.beats:
        message.resources.append(_wrapped(one, one.version, None, lives=lives))
    return message


def _wrapped(resource: PackedResource, version: str, content: Any, *, lives: bool) -> Any:
    """Without content it is a heartbeat."""
    made: Any = message_class(f"{DISCOVERY}.Resource")(
        name=resource.name, version=version, resource=content
    )
    if resource.ttl is not None and lives:
        made.ttl.FromNanoseconds(round(resource.ttl * NANOS))
    return made
