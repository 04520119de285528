"""``envoy.type.matcher.v3.MetadataMatcher`` ⇄ :class:`MetadataMatcher`."""

from ...model import ListMatch, MetadataMatcher, OrMatch, Present, Range, ValueMatch
from .string_matcher import decode_string, encode_string
from .wire import Fields, Reader

WHOLE_NUMBERS = 2**53
"""Below this, each whole number is a double of its own."""

KINDS = (
    "null_match",
    "bool_match",
    "present_match",
    "string_match",
    "double_match",
    "list_match",
    "or_match",
)


def encode_metadata_matcher(matcher: MetadataMatcher) -> Fields:
    return {
        "filter": matcher.filter,
        "path": [{"key": key} for key in matcher.path],
        "value": _encode_value(matcher.match),
        "invert": matcher.invert,
    }


def decode_metadata_matcher(reader: Reader) -> MetadataMatcher:
    path = tuple(segment.text("key", required=True) for segment in reader.children("path"))
    if not path:
        reader.problem("must not be empty", "path")
    return MetadataMatcher(
        filter=reader.text("filter", required=True),
        path=path,
        match=_decode_value(reader.child("value")),
        invert=reader.flag("invert"),
    )


def _encode_value(match: ValueMatch) -> Fields:
    match match:
        case None:
            return {"null_match": {}}
        case bool():
            return {"bool_match": match}
        case Present(present):
            return {"present_match": present}
        case Range(start, end):
            return {"double_match": {"range": {"start": start, "end": end}}}
        case ListMatch(one_of):
            return {"list_match": {"one_of": _encode_value(one_of)}}
        case OrMatch(value_matchers):
            return {"or_match": {"value_matchers": [_encode_value(m) for m in value_matchers]}}
        case text:
            return {"string_match": encode_string(text)}


def _decode_value(value: Reader) -> ValueMatch:
    match value.which(*KINDS):
        case "null_match":
            value.child("null_match")
            return None
        case "bool_match":
            return value.flag("bool_match")
        case "present_match":
            return Present(value.flag("present_match"))
        case "string_match":
            return decode_string(value.child("string_match"))
        case "double_match":
            return _decode_range(value.child("double_match"))
        case "list_match":
            return ListMatch(_decode_value(value.child("list_match").child("one_of")))
        case "or_match":
            matchers = value.child("or_match").children("value_matchers")
            if len(matchers) < 2:
                value.problem("needs two or more matchers", "or_match.value_matchers")
            return OrMatch(tuple(_decode_value(one) for one in matchers))
        case _:
            value.problem("nothing to compare with")
            return Present()


def _decode_range(number: Reader) -> Range:
    if not number.has("range"):
        number.problem("only a range is supported")
        number.skip("exact")
        return Range(0, 0)
    limits = number.child("range")
    return Range(_whole(limits, "start"), _whole(limits, "end"))


def _whole(limits: Reader, field: str) -> int:
    value = limits.real(field)
    if abs(value) <= WHOLE_NUMBERS and value.is_integer():
        return int(value)
    limits.problem(f"must be a whole number, is {value}", field)
    return 0
