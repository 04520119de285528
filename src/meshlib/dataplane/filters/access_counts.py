"""What becomes of calls where somebody decides who may do what, and how often."""

from dataclasses import asdict, dataclass
from typing import Any

from .chain import Kept


@dataclass(slots=True)
class RbacCounts:
    """Calls by what became of them, and by what shadow rules would have made of them."""

    allowed: int = 0
    denied: int = 0
    shadow_allowed: int = 0
    shadow_denied: int = 0


@dataclass(slots=True)
class JwtCounts:
    """Requests by what their tokens were worth; ``cors_preflight_bypassed`` ones are allowed."""

    allowed: int = 0
    denied: int = 0
    cors_preflight_bypassed: int = 0


@dataclass(slots=True)
class AuthorizationCounts:
    """Requests by what the service said of them; ``disabled`` were not asked about."""

    ok: int = 0
    denied: int = 0
    error: int = 0
    disabled: int = 0
    failure_mode_allowed: int = 0


@dataclass(slots=True)
class RateLimitCounts:
    """Calls by what their limit made of them; ``unenforced`` ones were over it and passed."""

    ok: int = 0
    limited: int = 0
    unenforced: int = 0
    error: int = 0
    failure_mode_allowed: int = 0


@dataclass(slots=True)
class FaultCounts:
    """Calls that suffered on purpose; ``faults_overflow`` were to, but too many did already."""

    delays_injected: int = 0
    aborts_injected: int = 0
    faults_overflow: int = 0


ACCESS = (RbacCounts, JwtCounts, AuthorizationCounts)
RATE_LIMITS = (RateLimitCounts,)
FAULTS = (FaultCounts,)


def counts(kept: Kept, kinds: tuple[type[Any], ...]) -> dict[str, dict[str, int]]:
    """Of each place with counts of these kinds; its last word is the filter's name."""
    return {
        "/".join(map(str, key[: key.index(type(found))])): asdict(found)
        for key, found in kept.everything().items()
        if isinstance(found, kinds)
    }
