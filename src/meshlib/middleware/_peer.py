"""Who calls: known where a handler runs."""

from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from ..dataplane import PLAINTEXT, Connection, Peer, Request
from ..model import Struct, Value

TOKENS = "envoy.filters.http.jwt_authn"
"""Under this name the claims of verified tokens are noted."""

NAMED_BY = "x-envoy-downstream-service-cluster"
"""The header by which a caller that proves nothing says at least who it means to be."""
SERVED: ContextVar[Connection] = ContextVar("meshlib_served", default=PLAINTEXT)
"""How the call that is being served came in."""


def served(request: Request) -> Connection:
    """How a call comes in, with the claims of the token that its caller was believed for."""
    noted = request.dynamic_metadata
    if noted is None:
        return request.connection
    tokens = next((found for name, found in noted.filter_metadata if name == TOKENS), Struct())
    claims = next((held for _, held in tokens.fields if isinstance(held, Struct)), None)
    if claims is None:
        return request.connection
    return replace(request.connection, peer=replace(request.connection.peer, claims=_plain(claims)))


def _plain(value: Value) -> Any:
    if isinstance(value, Struct):
        return {name: _plain(held) for name, held in value.fields}
    return [_plain(held) for held in value] if isinstance(value, tuple) else value


def peer(call: object) -> Peer:
    """Who makes the call that a handler of the mesh serves, as far as that was proven.

    ``call`` is what the handler was given: gRPC's servicer context (synchronous or asyncio), or
    aiohttp's request. To be asked in the handler itself, or in what runs in a copy of its context,
    such as a task of asyncio or ``asyncio.to_thread``. Of a caller in plain text nothing is proven:
    ``secure`` is false, and the names are empty. ``claims`` are those of a verified token (JWT).
    """
    if not (hasattr(call, "invocation_metadata") or hasattr(call, "match_info")):
        kind = type(call).__name__
        raise TypeError(f"a servicer context or an aiohttp request says who calls, not a {kind}")
    return SERVED.get().peer
