"""Regular expressions as xDS means them: RE2's, which take linear time."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

MAX_LENGTH = 1024
_GROUP = re.compile(r"\\(.?)", re.DOTALL)


@lru_cache(maxsize=4096)
def why_not_re2(regex: str) -> str:
    """Why the expression is refused, to be read after its name; or ""."""
    if len(regex) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(regex, options)
    except re2.error as refused:
        return f"is not a valid RE2 expression: {_text(refused)}"
    return ""


def groups(regex: str) -> int:
    """How many groups a valid expression has."""
    import re2

    count: int = re2.compile(regex).groups
    return count


def why_no_substitution(substitution: str, regex: str) -> str:
    """What is wrong with what is to stand in place of the matches of a valid expression, or "".

    A backslash stands before the digit of a group that there is, or before itself.
    """
    for after in _GROUP.findall(substitution):
        if after == "\\":
            continue
        if not after.isascii() or not after.isdigit():
            return f"a backslash stands before {after!r}"
        if int(after) > groups(regex):
            return f"there is no group {after}"
    return ""


def fullmatch(regex: str) -> Callable[[str], object]:
    """A valid expression, compiled to a match of the whole text.

    Bytes that are no text (escaped as surrogates) match nothing but ``\\C``, as in Envoy.
    """
    import re2

    matches: Callable[[bytes], object] = re2.compile(regex).fullmatch
    return lambda text: matches(text.encode("utf-8", "surrogateescape"))


def finditer(regex: str) -> Callable[[str], Iterable[Any]]:
    """A valid expression, compiled to a search for all of its matches.

    Where there are bytes that are no text, nothing is found.
    """
    import re2

    found: Callable[[str], Iterable[Any]] = re2.compile(regex).finditer

    def search(text: str) -> Iterable[Any]:
        return found(text) if text.isascii() or _is_text(text) else ()

    return search


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(refused: Exception) -> str:
    """``re2.error`` carries bytes."""
    reason = refused.args[0] if refused.args else ""
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
