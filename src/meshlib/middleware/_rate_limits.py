"""Who asks rate limit services for the calls of a mesh."""

from typing import Protocol

from ..dataplane import AskRateLimit, RateLimitVerdict


class RateLimitClient(Protocol):
    """Speaks to a rate limit service."""

    def ask(self, effect: AskRateLimit) -> RateLimitVerdict: ...

    async def aask(self, effect: AskRateLimit) -> RateLimitVerdict: ...


class NoRateLimitClient:
    def ask(self, effect: AskRateLimit) -> RateLimitVerdict:
        return RateLimitVerdict(None, detail="there is no client for rate limit services here")

    async def aask(self, effect: AskRateLimit) -> RateLimitVerdict:
        return self.ask(effect)
