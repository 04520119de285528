"""Who asks rate limit services and authorization services for the calls of a mesh."""

from typing import Any, Protocol

from ..dataplane import AskAuthorization, AskRateLimit, AuthorizationVerdict, RateLimitVerdict
from ..errors import MeshError

Question = AskRateLimit | AskAuthorization
Verdict = RateLimitVerdict | AuthorizationVerdict
VERDICTS: dict[type[Question], Any] = {
    AskRateLimit: RateLimitVerdict,
    AskAuthorization: AuthorizationVerdict,
}


class UnansweredError(MeshError):
    """A service that gave no answer; the words say why."""


class Services(Protocol):
    """Gives each question a verdict of its own kind, and never raises."""

    def ask(self, effect: Question) -> Verdict: ...

    async def aask(self, effect: Question) -> Verdict: ...


class NoServices:
    def ask(self, effect: Question) -> Verdict:
        return unasked(effect, "there is no client for such services here")

    async def aask(self, effect: Question) -> Verdict:
        return self.ask(effect)


def unasked(effect: Question, detail: str) -> Verdict:
    verdict: Verdict = VERDICTS[type(effect)](None, detail=detail)
    return verdict
