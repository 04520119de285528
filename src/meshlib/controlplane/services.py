"""The gRPC services of xDS: the aggregated one, and one for each type; each in two encodings.

Those of one type may also be asked for a single answer (``Fetch…``)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from ..xds.types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME
from .discovery import RequestError
from .messages import DISCOVERY, request_class
from .type_names import SECRET

SERVICES = (
    (f"{DISCOVERY}.AggregatedDiscoveryService", "AggregatedResources", ""),
    ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters", CLUSTER),
    ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints", ENDPOINT),
    ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners", LISTENER),
    ("envoy.service.route.v3.RouteDiscoveryService", "Routes", ROUTE),
    ("envoy.service.secret.v3.SecretDiscoveryService", "Secrets", SECRET),
    (
        "envoy.service.extension.v3.ExtensionConfigDiscoveryService",
        "ExtensionConfigs",
        EXTENSION,
    ),
    ("envoy.service.runtime.v3.RuntimeDiscoveryService", "Runtime", RUNTIME),
)
"""Each with what its methods end in, and the type that it serves."""

Serve = Callable[..., Awaitable[Any]]


def handlers(serve: Serve, fetch: Serve) -> tuple[grpc.GenericRpcHandler, ...]:
    """``serve(messages, grpc_call, delta=…, type_url=…)`` answers every stream, and
    ``fetch(message, grpc_call, type_url=…)`` returns a single answer."""
    return tuple(
        grpc.method_handlers_generic_handler(service, _methods(serve, fetch, ending, type_url))
        for service, ending, type_url in SERVICES
    )


def _methods(serve: Serve, fetch: Serve, ending: str, type_url: str) -> dict[str, Any]:
    methods = {
        f"Stream{ending}": _handler(serve, type_url, delta=False),
        f"Delta{ending}": _handler(serve, type_url, delta=True),
    }
    return methods | ({f"Fetch{ending}": _single(fetch, type_url)} if type_url else {})


def _handler(serve: Serve, type_url: str, *, delta: bool) -> Any:
    async def stream(messages: AsyncIterator[Any], grpc_call: Any) -> None:
        await serve(messages, grpc_call, delta=delta, type_url=type_url)

    return grpc.stream_stream_rpc_method_handler(
        stream,
        request_deserializer=_reading(delta=delta),
        response_serializer=lambda message: message.SerializeToString(),
    )


def _single(fetch: Serve, type_url: str) -> Any:
    read = _reading(delta=False)

    async def answer(message: bytes, grpc_call: Any) -> Any:
        try:
            request = read(message)
        except RequestError as garbage:
            return await grpc_call.abort(grpc.StatusCode.INVALID_ARGUMENT, str(garbage))
        return await fetch(request, grpc_call, type_url=type_url)

    return grpc.unary_unary_rpc_method_handler(
        answer,
        response_serializer=lambda message: message.SerializeToString(),
    )


def _reading(*, delta: bool) -> Callable[[bytes], Any]:
    made = request_class(delta=delta)

    def read(message: bytes) -> Any:
        try:
            return made.FromString(message)
        except DecodeError as garbage:
            raise RequestError(str(garbage)) from None

    return read
