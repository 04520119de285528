"""``RegexMatchAndSubstitute`` ⇄ :class:`RegexRewrite`."""

import re

from ...model import RegexRewrite
from ..regex import groups
from .wire import Fields, Reader

_GROUP = re.compile(r"\\(.?)", re.DOTALL)


def encode_rewrite(rewrite: RegexRewrite | None) -> Fields | None:
    if rewrite is None:
        return None
    return {"pattern": {"regex": rewrite.pattern}, "substitution": rewrite.substitution}


def decode_rewrite(holder: Reader, field: str) -> RegexRewrite | None:
    reader = holder.optional_child(field)
    if reader is None:
        return None
    found = len(reader.report.problems)
    pattern = reader.regex("pattern")
    substitution = reader.text("substitution")
    if len(reader.report.problems) == found:
        _check_substitution(reader, pattern, substitution)
    return RegexRewrite(pattern=pattern, substitution=substitution)


def _check_substitution(reader: Reader, pattern: str, substitution: str) -> None:
    """A backslash stands before the digit of a group that there is, or before itself."""
    for after in _GROUP.findall(substitution):
        if after == "\\":
            continue
        if not after.isascii() or not after.isdigit():
            reader.problem(f"a backslash stands before {after!r}", "substitution")
        elif int(after) > groups(pattern):
            reader.problem(f"there is no group {after}", "substitution")
