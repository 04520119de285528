"""Functions of CEL's string extension, which Envoy has and the library for CEL has not.

What is out of range, or would grow without end, has no value.
"""

from collections.abc import Callable, Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Any

MOST = 1 << 16
"""Characters of a text that is made of others."""
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_UPPER = str.maketrans(ascii_lowercase, ascii_uppercase)


def _within(number: int, text: str) -> int:
    if not 0 <= number <= len(text):
        raise ValueError("out of range")
    return number


def char_at(text: str, place: int) -> str:
    return text[_within(place, text) : place + 1]


def substring(text: str, begin: int, end: int | None = None) -> str:
    end = len(text) if end is None else _within(end, text)
    if _within(begin, text) > end:
        raise ValueError("out of range")
    return text[begin:end]


def index_of(text: str, part: str, begin: int = 0) -> int:
    return text.find(part, _within(begin, text))


def last_index_of(text: str, part: str, begin: int | None = None) -> int:
    last = len(text) if begin is None else _within(begin, text)
    return text.rfind(part, 0, last + len(part))


def replace(text: str, old: str, new: str, limit: int = -1) -> str:
    times = text.count(old) if limit < 0 else min(limit, text.count(old))
    if len(text) + times * len(new) > MOST:
        raise ValueError("too long")
    return text.replace(old, new, times)


def split(text: str, separator: str, limit: int = -1) -> list[str]:
    if not limit:
        return []
    if separator:
        return text.split(separator, limit - 1 if limit > 0 else -1)
    ends = len(text) if limit < 0 else min(limit - 1, len(text))
    rest = [text[ends:]] if ends < len(text) else []
    return [*text[:ends], *rest]


def join(parts: Sequence[str], separator: str = "") -> str:
    if sum(map(len, parts)) + len(parts) * len(separator) > MOST:
        raise ValueError("too long")
    return separator.join(parts)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "charAt": char_at,
    "indexOf": index_of,
    "join": join,
    "lastIndexOf": last_index_of,
    "lowerAscii": lambda text: text.translate(_LOWER),
    "replace": replace,
    "split": split,
    "substring": substring,
    "trim": str.strip,
    "upperAscii": lambda text: text.translate(_UPPER),
}
