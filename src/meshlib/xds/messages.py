"""The messages of ADS, in both encodings: what the conversation says ⇄ bytes."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from .bootstrap import Node
from .encodings import Request, SendDelta, SendRequest
from .protos import message_class
from .responses import RawResource, ResourceError, ResponseReceived

DISCOVERY = "envoy.service.discovery.v3"
RESOURCE = f"type.googleapis.com/{DISCOVERY}.Resource"
CLIENT_FEATURES = (
    "envoy.lb.does_not_support_overprovisioning",
    "xds.config.resource-in-sotw",
    "xds.config.supports-resource-ttl",
)
INVALID_ARGUMENT = 3


class GarbageError(Exception):
    """What came is no response of the encoding that was asked for."""


def encode_request(request: Request, node: Node) -> bytes:
    message = _delta(request) if isinstance(request, SendDelta) else _state_of_the_world(request)
    message.type_url = request.type_url
    message.response_nonce = request.nonce
    if request.first:
        write_node(node, message.node)
    if request.error:
        message.error_detail.code = INVALID_ARGUMENT
        message.error_detail.message = request.error
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def _state_of_the_world(request: SendRequest) -> Any:
    message: Any = message_class(f"{DISCOVERY}.DiscoveryRequest")()
    message.resource_names.extend(request.names)
    message.version_info = request.version
    return message


def _delta(request: SendDelta) -> Any:
    message: Any = message_class(f"{DISCOVERY}.DeltaDiscoveryRequest")()
    message.resource_names_subscribe.extend(request.subscribe)
    message.resource_names_unsubscribe.extend(request.unsubscribe)
    message.initial_resource_versions.update(request.versions)
    return message


def write_node(node: Node, message: Any, *features: str) -> None:
    """``features``: what the client can do on this stream besides."""
    json_format.ParseDict(_node(node), message)
    message.client_features.extend(features)


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


def decode_response(message: bytes, *, delta: bool = False) -> ResponseReceived:
    """Raises :class:`GarbageError` for bytes that are no response."""
    name = "DeltaDiscoveryResponse" if delta else "DiscoveryResponse"
    try:
        response: Any = message_class(f"{DISCOVERY}.{name}").FromString(message)
    except DecodeError as error:
        raise GarbageError(f"the control plane sent garbage: {error}") from error
    errors = tuple(
        ResourceError(e.resource_name.name, e.error_detail.code, e.error_detail.message)
        for e in response.resource_errors
    )
    if not delta:
        return ResponseReceived(
            type_url=response.type_url,
            version=response.version_info,
            nonce=response.nonce,
            resources=tuple(map(_resource, response.resources)),
            errors=errors,
        )
    others = (each.name for each in response.removed_resource_names)
    return ResponseReceived(
        type_url=response.type_url,
        version=response.system_version_info,
        nonce=response.nonce,
        resources=tuple(_unpacked(outer, outer.version) for outer in response.resources),
        errors=errors,
        removed=(*response.removed_resources, *others),
    )


def _resource(packed: Any) -> RawResource:
    """Of a state-of-the-world response: it has one version for all that it holds."""
    if packed.type_url != RESOURCE:
        return RawResource(packed.type_url, packed.value)
    try:
        outer: Any = message_class(f"{DISCOVERY}.Resource").FromString(packed.value)
    except DecodeError:
        return RawResource(packed.type_url, packed.value)  # refused by its type
    return _unpacked(outer)


def _unpacked(outer: Any, version: str = "") -> RawResource:
    ttl = outer.ttl.ToNanoseconds() / 1e9 if outer.HasField("ttl") else None
    name = outer.name or outer.resource_name.name
    if not outer.HasField("resource"):
        return RawResource("", None, name, ttl, version)
    return RawResource(outer.resource.type_url, outer.resource.value, name, ttl, version)
