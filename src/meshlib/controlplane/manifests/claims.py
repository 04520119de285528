"""Claims of verified tokens, where a VirtualService names them in the place of headers."""

import re

CLAIMS = "@request.auth.claims"
_KEYED = re.compile(r"(?:\[[^\[\]]+\])+")
_DOTTED = re.compile(r"(?:\.[^.\[\]]+)+")


def is_claim(name: str) -> bool:
    """No header begins like this."""
    return name.startswith("@")


def claim_path(name: str) -> tuple[str, ...] | None:
    """``@request.auth.claims.a.b`` and ``@request.auth.claims[a][b]``; ``None`` is neither.

    Names of claims may have dots, which only the second form can say.
    """
    if not name.lower().startswith(CLAIMS):
        return None
    rest = name[len(CLAIMS) :]
    if _KEYED.fullmatch(rest):
        return tuple(rest[1:-1].split("]["))
    return tuple(rest[1:].split(".")) if _DOTTED.fullmatch(rest) else None
