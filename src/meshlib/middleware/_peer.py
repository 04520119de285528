"""Who calls: known where a handler runs."""

from contextvars import ContextVar

from ..dataplane import PLAINTEXT, Connection, Peer

NAMED_BY = "x-envoy-downstream-service-cluster"
"""The header by which a caller that proves nothing says at least who it means to be."""
SERVED: ContextVar[Connection] = ContextVar("meshlib_served", default=PLAINTEXT)
"""How the call that is being served came in."""


def peer(call: object) -> Peer:
    """Who makes the call that a handler of the mesh serves, as far as that was proven.

    ``call`` is what the handler was given: gRPC's servicer context (synchronous or asyncio), or
    aiohttp's request. To be asked in the handler itself, or in what runs in a copy of its context,
    such as a task of asyncio or ``asyncio.to_thread``. Of a caller in plain text nothing is proven:
    ``secure`` is false, and the names are empty.
    """
    if not (hasattr(call, "invocation_metadata") or hasattr(call, "match_info")):
        kind = type(call).__name__
        raise TypeError(f"a servicer context or an aiohttp request says who calls, not a {kind}")
    return SERVED.get().peer
