"""Asks gRPC services: one channel to each endpoint, for threads and for each event loop."""

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import grpc.aio

from ..dataplane import UpstreamEndpoint
from ..identity.credentials import IdentityError
from ._grpc_pool import AUTHORITY, DIRECT, RECONNECT, native_target, own
from ._services import UnansweredError
from ._tls_upstream import Dial

T = TypeVar("T")
Ask = Callable[..., Any]
DialFor = Callable[[UpstreamEndpoint], Dial | None]
"""``None``: in plain text. Raises :class:`IdentityError` where that would not be safe enough."""
Place = tuple[str, str, str]
"""An endpoint, a method, and the name that the service is asked by ("" its own)."""
Key = tuple[Place, Dial | None]


def in_plain_text(endpoint: UpstreamEndpoint) -> None:
    if endpoint.secured_by is not None:
        raise IdentityError("nothing is there to secure the connection with")


class ServiceClient:
    """What it sends and receives is bytes. ``dial``: how the connection to an endpoint is secured.

    Raises :class:`UnansweredError`.
    """

    def __init__(self, dial: DialFor = in_plain_text) -> None:
        self._dial = dial
        self._inherited: list[object] = []
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._channels: dict[Key, tuple[grpc.Channel, Ask]] = {}
        self._aio_channels: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[Key, tuple[grpc.aio.Channel, Ask]]
        ] = weakref.WeakKeyDictionary()

    def reset(self) -> None:
        """In a forked child: locks and connections are the parent's, and these are never freed.

        To free one waits for a thread that there is in the parent alone.
        """
        self._inherited += [self._channels, *self._aio_channels.values()]
        self._begin()

    def ask(
        self,
        endpoint: UpstreamEndpoint,
        method: str,
        question: bytes,
        timeout: float,
        authority: str = "",
    ) -> bytes:
        try:
            answer: bytes = self._sync(endpoint, method, authority)(question, timeout=timeout)
        except (grpc.RpcError, IdentityError) as error:
            raise UnansweredError(_why(error)) from None
        return answer

    async def aask(
        self,
        endpoint: UpstreamEndpoint,
        method: str,
        question: bytes,
        timeout: float,  # noqa: ASYNC109 - gRPC's own
        authority: str = "",
    ) -> bytes:
        try:
            answer: bytes = await self._aio(endpoint, method, authority)(question, timeout=timeout)
        except (grpc.RpcError, IdentityError) as error:
            raise UnansweredError(_why(error)) from None
        return answer

    def _sync(self, endpoint: UpstreamEndpoint, method: str, authority: str) -> Ask:
        key = (endpoint.key, method, authority), self._dial(endpoint)
        with self._lock:
            known = self._channels.get(key)
            if known is None:
                channel = _opened(grpc, endpoint, authority, key[1])
                self._channels = _without_old(self._channels, key)
                known = self._channels[key] = channel, channel.unary_unary(method)
            return known[1]

    def _aio(self, endpoint: UpstreamEndpoint, method: str, authority: str) -> Ask:
        loop = asyncio.get_running_loop()
        key = (endpoint.key, method, authority), self._dial(endpoint)
        with self._lock:
            channels = self._aio_channels.get(loop, {})
            known = channels.get(key)
            if known is None:
                channel = _opened(grpc.aio, endpoint, authority, key[1])
                known = channel, channel.unary_unary(method)
                self._aio_channels[loop] = {**_without_old(channels, key), key: known}
            return known[1]

    def close(self) -> None:
        """Close the channels that no event loop owns."""
        with self._lock:
            channels, self._channels = self._channels, {}
        for channel, _ in channels.values():
            channel.close()

    async def aclose(self) -> None:
        """Close those of the running event loop."""
        with self._lock:
            channels = self._aio_channels.pop(asyncio.get_running_loop(), {})
        for channel, _ in channels.values():
            await channel.close()


def _opened(library: Any, endpoint: UpstreamEndpoint, authority: str, dial: Dial | None) -> Any:
    target = native_target(endpoint.address)
    if dial is None:
        asked_by = ((AUTHORITY, authority),) if authority else ()
        return library.insecure_channel(target, (*_options(), *asked_by))
    asked = dial.name or dial.authority(authority or endpoint.config.hostname or target)
    options = (*_options(), *dial.options, (AUTHORITY, asked))
    return library.secure_channel(
        dial.target(endpoint.address) or target, dial.credentials, options
    )


def _without_old(channels: dict[Key, T], key: Key) -> dict[Key, T]:
    """Those that were secured by what does not hold any more close when nobody uses them."""
    return {other: kept for other, kept in channels.items() if other[0] != key[0]}


def _options() -> tuple[tuple[str, Any], ...]:
    return (*RECONNECT, *DIRECT, *own())


def _why(error: Any) -> str:
    if isinstance(error, IdentityError):
        return str(error)
    return f"{error.code().name}: {error.details()}"
