"""``RegexMatchAndSubstitute`` ⇄ :class:`RegexRewrite`."""

from ...model import RegexRewrite
from ..regex import why_no_substitution
from .wire import Fields, Reader


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
        why = why_no_substitution(substitution, pattern)
        if why:
            reader.problem(why, "substitution")
    return RegexRewrite(pattern=pattern, substitution=substitution)
