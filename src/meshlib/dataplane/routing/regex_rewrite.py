"""Replacing what a regular expression finds, as RE2's ``GlobalReplace`` does."""

import re
from collections.abc import Callable, Iterable
from typing import Protocol

from ...model import RegexRewrite


class Match(Protocol):
    def start(self) -> int: ...
    def end(self) -> int: ...
    def group(self, number: int, /) -> str | None: ...


Finditer = Callable[[str], Callable[[str], Iterable[Match]]]
"""Compile a pattern to a search for all of its matches."""


def python_finditer(pattern: str) -> Callable[[str], Iterable[Match]]:
    """The standard library's engine; floors above pass RE2's instead."""
    return re.compile(pattern).finditer


def replacing(config: RegexRewrite, finditer: Finditer) -> Callable[[str], str]:
    find = finditer(config.pattern)
    template = _template(config.substitution)

    def replace(text: str) -> str:
        parts: list[str] = []
        end = 0
        begun = False
        for match in find(text):
            if begun and match.start() == match.end() == end:
                continue  # RE2 finds no empty text right after what it has just found
            parts.append(text[end : match.start()])
            parts += [p if isinstance(p, str) else match.group(p) or "" for p in template]
            end, begun = match.end(), True
        return "".join((*parts, text[end:]))

    return replace


def _template(substitution: str) -> tuple[str | int, ...]:
    """A backslash and a digit is a group; two backslashes are one."""
    pieces = re.split(r"\\(.)", substitution, flags=re.DOTALL)
    made: list[str | int] = []
    for index, piece in enumerate(pieces):
        made.append(int(piece) if index % 2 and piece.isascii() and piece.isdigit() else piece)
    return tuple(piece for piece in made if piece != "")
