"""``envoy.type.matcher.v3.StringMatcher`` ⇄ :class:`StringMatcher`."""

from collections.abc import Callable

from ...model import Contains, Exact, Prefix, SafeRegex, StringMatcher, Suffix
from .wire import Fields, Reader

STRINGS: dict[str, Callable[..., Exact | Prefix | Suffix | Contains]] = {
    "exact": Exact,
    "prefix": Prefix,
    "suffix": Suffix,
    "contains": Contains,
}


def encode_string(matcher: StringMatcher) -> Fields:
    match matcher:
        case SafeRegex(regex):
            return {"safe_regex": {"regex": regex}}
        case Exact(value, ignore_case):
            return {"exact": value, "ignore_case": ignore_case}
        case Prefix(value, ignore_case):
            return {"prefix": value, "ignore_case": ignore_case}
        case Suffix(value, ignore_case):
            return {"suffix": value, "ignore_case": ignore_case}
        case Contains(value, ignore_case):
            return {"contains": value, "ignore_case": ignore_case}


def decode_string(reader: Reader) -> StringMatcher:
    kind = reader.which(*STRINGS, "safe_regex")
    if kind == "safe_regex":
        return SafeRegex(reader.regex(kind))
    if not kind:
        reader.problem("no supported way to match a string")
        return Exact("")
    value = reader.text(kind, required=kind != "exact")
    return STRINGS[kind](value, reader.flag("ignore_case"))
