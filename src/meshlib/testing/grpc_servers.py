"""gRPC servers of one unary method: in plain text, and of no mesh unless an interceptor is."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc

FREE = "127.0.0.1:0"


@contextmanager
def serving(
    method: str,
    behaviour: Callable[[bytes, Any], bytes],
    *,
    threads: int = 2,
    interceptors: Iterable[Any] = (),
) -> Iterator[int]:
    """``with serving("/test.T/Echo", lambda request, _call: request) as port``."""
    with ThreadPoolExecutor(threads) as pool:
        server = grpc.server(pool, interceptors=list(interceptors))
        server.add_generic_rpc_handlers((handler_of(method, behaviour),))
        port = server.add_insecure_port(FREE)
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


@asynccontextmanager
async def aio_serving(
    method: str,
    behaviour: Callable[[bytes, Any], Awaitable[bytes]],
    *,
    interceptors: Iterable[Any] = (),
) -> AsyncIterator[int]:
    """The same in a loop."""
    server = grpc.aio.server(interceptors=list(interceptors))
    server.add_generic_rpc_handlers((handler_of(method, behaviour),))
    port = server.add_insecure_port(FREE)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def handler_of(method: str, behaviour: Callable[..., Any]) -> grpc.GenericRpcHandler:
    """``method`` is ``/package.Service/Method``."""
    service, name = method.strip("/").split("/")
    handlers: dict[str, Any] = {name: grpc.unary_unary_rpc_method_handler(behaviour)}
    return grpc.method_handlers_generic_handler(service, handlers)
