"""The client of rate limit services, made when one is asked first: few members ever do."""

from functools import partial
from typing import TYPE_CHECKING

from ..dataplane import AskRateLimit, RateLimitVerdict, UpstreamEndpoint
from ..middleware._drive import Runtime

if TYPE_CHECKING:
    from ..middleware._rate_limit_client import RateLimitServiceClient
    from ..middleware._tls_upstream import Dial


class RateLimits:
    """The ``rate_limit_client`` of a runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._made: RateLimitServiceClient | None = None
        runtime.rate_limit_client = self
        runtime.resets.append(self.reset)

    def ask(self, effect: AskRateLimit) -> RateLimitVerdict:
        return self._client().ask(effect)

    async def aask(self, effect: AskRateLimit) -> RateLimitVerdict:
        return await self._client().aask(effect)

    def _client(self) -> "RateLimitServiceClient":
        if self._made is None:
            from ..middleware._rate_limit_client import RateLimitServiceClient
            from ..xds.rate_limit import METHOD, decode_response, encode_request

            decode = partial(decode_response, make=RateLimitVerdict)
            self._made = RateLimitServiceClient(METHOD, encode_request, decode, self._dial)
        return self._made

    def _dial(self, endpoint: UpstreamEndpoint) -> "Dial | None":
        if endpoint.secured_by is None:
            return None
        security = self._runtime.security.upstream
        transport = security.wanted_for(endpoint)
        return None if transport is None else security.dial(transport, endpoint.config.hostname)

    def reset(self) -> None:
        """In a forked child."""
        if self._made is not None:
            self._made.reset()

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    async def aclose(self) -> None:
        if self._made is not None:
            await self._made.aclose()
