"""What is done to a path before anything looks at it."""

import re
from collections.abc import Callable
from string import ascii_letters, digits

from ...model import HttpConnectionManager, PathWithEscapedSlashesAction

Normalizer = Callable[[str], str | None]
"""From a path with query to another; ``None``: the request is to be refused with 400."""

_ESCAPED = re.compile("%([0-9A-Fa-f]{2})")
_UNSAFE = re.compile(r"[\x01-\x20\"<>^`{|}\x7f-\U0010ffff]")
_SLASH = re.compile("%(2[Ff]|5[Cc])")
_HEX = "(?:[0-9A-Fa-f]|%(?:3[0-9]|[46][1-6]))"
_NESTED = re.compile(f"%(?![0-9A-Fa-f]{{2}})(?={_HEX}{{2}})")
"""A percent sign that would begin an escape only when what follows it is unescaped."""
UNRESERVED = frozenset(f"{ascii_letters}{digits}-._~")


def normalizer(config: HttpConnectionManager) -> Normalizer | None:
    """``None``: paths stay as they are."""
    action = config.path_with_escaped_slashes_action
    keeps = action is PathWithEscapedSlashesAction.KEEP_UNCHANGED
    if not (config.normalize_path or config.merge_slashes) and keeps:
        return None
    rejects = action is PathWithEscapedSlashesAction.REJECT_REQUEST

    def normalize(path: str) -> str | None:
        if not keeps and has_escaped_slashes(path):
            if rejects:
                return None
            path = unescape_slashes(path)
        made = canonical_path(path) if config.normalize_path else path
        return merge_slashes(made) if made is not None and config.merge_slashes else made

    return normalize


def has_escaped_slashes(path: str) -> bool:
    return "%" in path and _SLASH.search(path.partition("?")[0]) is not None


def unescape_slashes(path: str) -> str:
    """Once: what comes of it is not looked through again. The query is left alone."""
    plain, mark, query = path.partition("?")
    return _SLASH.sub(lambda found: chr(int(found[1], 16)), plain) + mark + query


def canonical_path(path: str) -> str | None:
    """Dots resolved, backslashes turned, and nothing escaped but what has to be (RFC 3986, 6).

    ``None`` where there is a NUL.
    """
    plain, mark, query = path.partition("?")
    if "%00" in plain or "\0" in plain:
        return None
    plain = _NESTED.sub("%25", plain.replace("\\", "/"))
    plain = _UNSAFE.sub(_escaped, _ESCAPED.sub(_unescaped, plain))
    segments = plain.removeprefix("/").split("/")
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept) + mark + query


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in UNRESERVED else match[0]


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def merge_slashes(path: str) -> str:
    """Several slashes in a row are one; the query is left alone.

    A path of nothing but slashes keeps two: one that it begins with, and one that it ends with.
    """
    plain, mark, query = path.partition("?")
    if "//" not in plain:
        return path
    first, last = plain[0] == "/", plain[-1] == "/"
    merged = "/".join(filter(None, plain.split("/")))
    return f"{'/' * first}{merged}{'/' * last}{mark}{query}"
