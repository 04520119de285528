"""Asks rate limit services: one channel to each endpoint, for threads and for each event loop."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio

from ..dataplane import AskRateLimit, RateLimitVerdict, UpstreamEndpoint
from ..identity.credentials import IdentityError
from ._grpc_pool import AUTHORITY, DIRECT, RECONNECT, native_target, own
from ._tls_upstream import TARGET_NAME, Dial

T = TypeVar("T")
Encode = Callable[[str, Sequence[Sequence[tuple[str, str]]]], bytes]
Decode = Callable[[bytes], RateLimitVerdict]
Ask = Callable[..., Any]
DialFor = Callable[[UpstreamEndpoint], Dial | None]
"""``None``: in plain text. Raises :class:`IdentityError` where that would not be safe enough."""
Key = tuple[str, Dial | None]


def in_plain_text(endpoint: UpstreamEndpoint) -> None:
    if endpoint.secured_by is not None:
        raise IdentityError("nothing is there to secure the connection with")


class RateLimitServiceClient:
    """``encode`` and ``decode`` make the messages: what is here sees only bytes.

    ``dial``: how the connection to an endpoint is secured.
    """

    def __init__(
        self, method: str, encode: Encode, decode: Decode, dial: DialFor = in_plain_text
    ) -> None:
        self._dial = dial
        self._method = method
        self._encode = encode
        self._decode = decode
        self.reset()

    def reset(self) -> None:
        """In a forked child: connections and locks are the parent's."""
        self._lock = threading.Lock()
        self._channels: dict[Key, tuple[grpc.Channel, Ask]] = {}
        self._aio_channels: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[Key, tuple[grpc.aio.Channel, Ask]]
        ] = weakref.WeakKeyDictionary()

    def ask(self, effect: AskRateLimit) -> RateLimitVerdict:
        request = self._encode(effect.domain, effect.descriptors)
        try:
            answer = self._sync(effect.endpoint)(request, timeout=effect.timeout)
        except grpc.RpcError as error:
            return _no_verdict(error)
        except IdentityError as missing:
            return RateLimitVerdict(None, detail=str(missing))
        return self._decode(answer)

    async def aask(self, effect: AskRateLimit) -> RateLimitVerdict:
        request = self._encode(effect.domain, effect.descriptors)
        try:
            answer = await self._aio(effect.endpoint)(request, timeout=effect.timeout)
        except grpc.RpcError as error:
            return _no_verdict(error)
        except IdentityError as missing:
            return RateLimitVerdict(None, detail=str(missing))
        return self._decode(answer)

    def _sync(self, endpoint: UpstreamEndpoint) -> Ask:
        key = endpoint.key, self._dial(endpoint)
        with self._lock:
            known = self._channels.get(key)
            if known is None:
                channel = _opened(grpc, endpoint, key[1])
                self._channels = _without_old(self._channels, key)
                known = self._channels[key] = channel, channel.unary_unary(self._method)
            return known[1]

    def _aio(self, endpoint: UpstreamEndpoint) -> Ask:
        loop = asyncio.get_running_loop()
        key = endpoint.key, self._dial(endpoint)
        with self._lock:
            channels = self._aio_channels.get(loop, {})
            known = channels.get(key)
            if known is None:
                channel = _opened(grpc.aio, endpoint, key[1])
                known = channel, channel.unary_unary(self._method)
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


def _opened(library: Any, endpoint: UpstreamEndpoint, dial: Dial | None) -> Any:
    target = native_target(endpoint.address)
    if dial is None:
        return library.insecure_channel(target, _options())
    named = ((TARGET_NAME, dial.name), (AUTHORITY, dial.name)) if dial.name else ()
    return library.secure_channel(target, dial.credentials, (*_options(), *named))


def _without_old(channels: dict[Key, T], key: Key) -> dict[Key, T]:
    """Those that were secured by what does not hold any more close when nobody uses them."""
    return {other: kept for other, kept in channels.items() if other[0] != key[0]}


def _options() -> tuple[tuple[str, Any], ...]:
    return (*RECONNECT, *DIRECT, *own())


def _no_verdict(error: Any) -> RateLimitVerdict:
    return RateLimitVerdict(None, detail=f"{error.code().name}: {error.details()}")
