"""What becomes of calls where somebody decides who may do what."""

from dataclasses import asdict, dataclass

from .chain import Kept


@dataclass(slots=True)
class RbacCounts:
    """Calls by what became of them, and by what shadow rules would have made of them."""

    allowed: int = 0
    denied: int = 0
    shadow_allowed: int = 0
    shadow_denied: int = 0


@dataclass(slots=True)
class AuthorizationCounts:
    """Requests by what the service said of them; ``disabled`` were not asked about."""

    ok: int = 0
    denied: int = 0
    error: int = 0
    disabled: int = 0
    failure_mode_allowed: int = 0


def counts(kept: Kept) -> dict[str, dict[str, int]]:
    """Of each place where access is controlled; its last word is the filter's name."""
    return {
        "/".join(map(str, key[: key.index(type(found))])): asdict(found)
        for key, found in kept.everything().items()
        if isinstance(found, RbacCounts | AuthorizationCounts)
    }
