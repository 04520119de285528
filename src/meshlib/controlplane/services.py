"""The gRPC services of xDS: the aggregated one, and one for each type; each in two encodings."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from ..xds.types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME
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

Serve = Callable[..., Awaitable[None]]


def handlers(serve: Serve) -> tuple[grpc.GenericRpcHandler, ...]:
    """``serve(messages, grpc_call, delta=…, type_url=…)`` answers every stream."""
    return tuple(
        grpc.method_handlers_generic_handler(
            service,
            {
                f"Stream{ending}": _handler(serve, type_url, delta=False),
                f"Delta{ending}": _handler(serve, type_url, delta=True),
            },
        )
        for service, ending, type_url in SERVICES
    )


def _handler(serve: Serve, type_url: str, *, delta: bool) -> Any:
    async def stream(messages: AsyncIterator[Any], grpc_call: Any) -> None:
        await serve(messages, grpc_call, delta=delta, type_url=type_url)

    return grpc.stream_stream_rpc_method_handler(
        stream,
        request_deserializer=request_class(delta=delta).FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
