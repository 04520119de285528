"""Texts of strangers, as they may be told to others."""

import re

LONGEST = 1024
"""Characters of what a stranger could make as long as he likes."""

_SECRETS = "|".join(
    (
        *("AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature", "X-Amz-Signature"),
        *("X-Amz-Security-Token", "X-Amz-Credential"),
        *("(?:(?:access|auth|csrf|id|refresh|session)[_-])?token", "jwt", "assertion"),
        *("api[_-]?key", "(?:client_)?secret", "passw(?:or)?d", "authorization"),
    )
)
SECRET = re.compile(rf"(?<=[?&;])({_SECRETS})=[^&;#]*", re.IGNORECASE)
"""Parts of queries that semantic conventions hold back, and others that stand for their owner."""


def encodable(text: str) -> str:
    """As every encoding has it: aiohttp makes octets that are no UTF-8 lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def shown(text: str) -> str:
    return encodable(text[:LONGEST])


def shown_path(path: str, length: int) -> str:
    """The path with its query, no secrets in it and not too long (``max_path_tag_length``)."""
    if "?" in path:
        path = SECRET.sub(r"\1=REDACTED", path)
    return encodable(path[:length])
