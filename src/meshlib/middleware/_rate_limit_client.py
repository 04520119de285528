"""Asks rate limit services: one channel to each endpoint, for threads and for each event loop."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from ..dataplane import AskRateLimit, RateLimitVerdict, UpstreamEndpoint
from ._grpc_pool import DIRECT, RECONNECT, native_target, own

Encode = Callable[[str, Sequence[Sequence[tuple[str, str]]]], bytes]
Decode = Callable[[bytes], RateLimitVerdict]
Ask = Callable[..., Any]


class RateLimitServiceClient:
    """``encode`` and ``decode`` make the messages: what is here sees only bytes."""

    def __init__(self, method: str, encode: Encode, decode: Decode) -> None:
        self._method = method
        self._encode = encode
        self._decode = decode
        self.reset()

    def reset(self) -> None:
        """In a forked child: connections and locks are the parent's."""
        self._lock = threading.Lock()
        self._channels: dict[str, tuple[grpc.Channel, Ask]] = {}
        self._aio_channels: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[str, tuple[grpc.aio.Channel, Ask]]
        ] = weakref.WeakKeyDictionary()

    def ask(self, effect: AskRateLimit) -> RateLimitVerdict:
        request = self._encode(effect.domain, effect.descriptors)
        try:
            answer = self._sync(effect.endpoint)(request, timeout=effect.timeout)
        except grpc.RpcError as error:
            return _no_verdict(error)
        return self._decode(answer)

    async def aask(self, effect: AskRateLimit) -> RateLimitVerdict:
        request = self._encode(effect.domain, effect.descriptors)
        try:
            answer = await self._aio(effect.endpoint)(request, timeout=effect.timeout)
        except grpc.RpcError as error:
            return _no_verdict(error)
        return self._decode(answer)

    def _sync(self, endpoint: UpstreamEndpoint) -> Ask:
        with self._lock:
            known = self._channels.get(endpoint.key)
            if known is None:
                channel = grpc.insecure_channel(native_target(endpoint.address), _options())
                known = self._channels[endpoint.key] = channel, channel.unary_unary(self._method)
            return known[1]

    def _aio(self, endpoint: UpstreamEndpoint) -> Ask:
        loop = asyncio.get_running_loop()
        with self._lock:
            channels = self._aio_channels.setdefault(loop, {})
            known = channels.get(endpoint.key)
            if known is None:
                channel = grpc.aio.insecure_channel(native_target(endpoint.address), _options())
                known = channels[endpoint.key] = channel, channel.unary_unary(self._method)
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


def _options() -> tuple[tuple[str, Any], ...]:
    return (*RECONNECT, *DIRECT, *own())


def _no_verdict(error: Any) -> RateLimitVerdict:
    return RateLimitVerdict(None, detail=f"{error.code().name}: {error.details()}")
