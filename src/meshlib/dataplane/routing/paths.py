"""What is done to a path before anything looks at it."""

import re
from collections.abc import Callable

from ...model import HttpConnectionManager

Normalizer = Callable[[str], str | None]
"""From a path with query to another; ``None``: the request is to be refused with 400."""

_DOT = re.compile("%2e", re.IGNORECASE)
_SLASHES = re.compile("//+")


def normalizer(config: HttpConnectionManager) -> Normalizer | None:
    """``None``: paths stay as they are."""
    if not (config.normalize_path or config.merge_slashes):
        return None

    def normalize(path: str) -> str | None:
        made = canonical_path(path) if config.normalize_path else path
        return merge_slashes(made) if made is not None and config.merge_slashes else made

    return normalize


def canonical_path(path: str) -> str | None:
    """Dots resolved and backslashes turned (RFC 3986, 6); ``None`` where there is a NUL."""
    plain, mark, query = path.partition("?")
    if "%00" in plain or "\0" in plain:
        return None
    segments = _DOT.sub(".", plain.replace("\\", "/")).removeprefix("/").split("/")
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept) + mark + query


def merge_slashes(path: str) -> str:
    """Several slashes in a row are one; the query is left alone."""
    plain, mark, query = path.partition("?")
    return _SLASHES.sub("/", plain) + mark + query
