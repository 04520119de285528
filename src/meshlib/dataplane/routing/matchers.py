"""Matchers, compiled once when a route table is applied: predicates that read a request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from ...model import (
    Contains,
    Exact,
    HeaderMatcher,
    ListMatch,
    Metadata,
    MetadataMatcher,
    OrMatch,
    PathExact,
    PathPrefix,
    PathRegex,
    PathSeparatedPrefix,
    Prefix,
    Present,
    QueryParameterMatcher,
    Range,
    RouteMatch,
    SafeRegex,
    StringMatcher,
    Struct,
    Suffix,
    ValueMatch,
)
from ..message import Request

Regex = Callable[[str], Callable[[str], object]]
"""Compile a pattern to a full match; passed in, so that the core needs no engine of its own."""
GRPC = "application/grpc"
MISSING = object()
TextTest = Callable[[str], bool]
Read = Callable[[Request], Sequence[str]]
"""The values of a header."""
MAX_DIGITS = 20
"""Of a 64-bit number; what is longer is none, and not worth the work of reading it."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a route asks of a request, with the words to say which."""

    rule: str
    test: Callable[[Request], bool]


def text_test(matcher: StringMatcher, regex: Regex) -> TextTest:
    if isinstance(matcher, SafeRegex):
        fullmatch = regex(matcher.regex)
        return lambda value: fullmatch(value) is not None
    wanted = matcher.value.lower() if matcher.ignore_case else matcher.value
    plain = _plain_test(matcher, wanted)
    return (lambda value: plain(value.lower())) if matcher.ignore_case else plain


def _plain_test(matcher: Exact | Prefix | Suffix | Contains, wanted: str) -> TextTest:
    match matcher:
        case Exact():
            return lambda value: value == wanted
        case Prefix():
            return lambda value: value.startswith(wanted)
        case Suffix():
            return lambda value: value.endswith(wanted)
        case Contains():
            return lambda value: wanted in value


def text_rule(matcher: StringMatcher | Range | Present) -> str:
    match matcher:
        case SafeRegex(regex):
            return f"~{regex}"
        case Range(start, end):
            return f" in [{start}, {end})"
        case Present(present):
            return " present" if present else " absent"
        case Exact(value):
            return f"={value}"
        case Prefix(value):
            return f"={value}*"
        case Suffix(value):
            return f"=*{value}"
        case Contains(value):
            return f"=*{value}*"


def path_test(match: RouteMatch, regex: Regex) -> TextTest:
    """A test of the path without its query."""
    matcher = match.path
    if isinstance(matcher, PathRegex):
        fullmatch = regex(matcher.regex)
        return lambda path: fullmatch(path) is not None
    exact = _path_test(matcher, matcher.value if match.case_sensitive else matcher.value.lower())
    return exact if match.case_sensitive else (lambda path: exact(path.lower()))


def _path_test(matcher: PathExact | PathPrefix | PathSeparatedPrefix, wanted: str) -> TextTest:
    match matcher:
        case PathExact():
            return lambda path: path == wanted
        case PathPrefix():
            return lambda path: path.startswith(wanted)
        case PathSeparatedPrefix():
            below = wanted.rstrip("/") + "/"
            return lambda path: path == wanted or path.startswith(below)


def path_rule(match: RouteMatch) -> str:
    case = "" if match.case_sensitive else " (any case)"
    match match.path:
        case PathExact(value):
            return f"path={value}{case}"
        case PathPrefix(value):
            return f"path={value}*{case}"
        case PathSeparatedPrefix(value):
            return f"path={value} or below{case}"
        case PathRegex(value):
            return f"path~{value}"


def header_condition(matcher: HeaderMatcher, regex: Regex, read: Read | None = None) -> Condition:
    """Of several values one has to fit, as Envoy asks; gRPC has them as one (gRFC A28)."""
    name = matcher.name.lower()
    inverted = matcher.invert_match
    rule = f"{'not ' if inverted else ''}header {name}{text_rule(matcher.match)}"
    read = read or _header_reader(name)
    if isinstance(matcher.match, Present):
        if matcher.treat_missing_header_as_empty:
            fits = matcher.match.present is not inverted
            return Condition(rule, lambda _request: fits)
        wanted = matcher.match.present is not inverted
        return Condition(rule, lambda r: bool(read(r)) is wanted)
    test = _value_test(matcher.match, regex)
    missing = test("") is not inverted if matcher.treat_missing_header_as_empty else False

    def check(request: Request) -> bool:
        values = read(request)
        return any(map(test, values)) is not inverted if values else missing

    return Condition(rule, check)


def _header_reader(name: str) -> Read:
    if name == "host":
        name = ":authority"
    if name.endswith("-bin"):
        # gRFC A28: binary metadata counts as absent.
        return lambda request: () if request.is_grpc else request.values(name)
    return lambda request: request.values(name)


def _value_test(matcher: StringMatcher | Range, regex: Regex) -> TextTest:
    if not isinstance(matcher, Range):
        return text_test(matcher, regex)

    def in_range(value: str) -> bool:
        number = whole_number(value)
        return number is not None and matcher.start <= number < matcher.end

    return in_range


def whole_number(text: str) -> int | None:
    number = text.strip()
    digits = number[1:] if number[:1] in ("-", "+") else number
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS):
        return None
    return int(number)


def query_condition(matcher: QueryParameterMatcher, regex: Regex) -> Condition:
    """A gRPC request has no query, so such a route never matches it (gRFC A28)."""
    rule = f"query {matcher.name}{text_rule(matcher.match)}"
    test = _parameter_test(matcher.match, regex)
    name = matcher.name
    return Condition(rule, lambda r: not r.is_grpc and test(query_parameter(r.path, name)))


def _parameter_test(matcher: StringMatcher | Present, regex: Regex) -> Callable[[str | None], bool]:
    if isinstance(matcher, Present):
        wanted = matcher.present
        return lambda value: (value is not None) is wanted
    test = text_test(matcher, regex)
    return lambda value: value is not None and test(value)


def metadata_condition(matcher: MetadataMatcher, regex: Regex) -> Condition:
    """What is missing matches nothing, which an inverted matcher takes for a match."""
    path = ":".join((matcher.filter, *matcher.path))
    rule = f"{'not ' if matcher.invert else ''}metadata {path}{_value_rule(matcher.match)}"
    test = _metadata_test(matcher.match, regex)

    def check(request: Request) -> bool:
        metadata = request.dynamic_metadata
        found = MISSING if metadata is None else metadata_value(metadata, matcher)
        return test(found) is not matcher.invert

    return Condition(rule, check)


def metadata_value(metadata: Metadata, matcher: MetadataMatcher) -> object:
    found: object = dict(metadata.filter_metadata).get(matcher.filter, MISSING)
    for key in matcher.path:
        found = dict(found.fields).get(key, MISSING) if isinstance(found, Struct) else MISSING
    return found


def _metadata_test(match: ValueMatch, regex: Regex) -> Callable[[object], bool]:
    if match is None or isinstance(match, bool):
        return lambda value: value is match
    if isinstance(match, ListMatch):
        one = _metadata_test(match.one_of, regex)
        return lambda value: isinstance(value, tuple) and any(map(one, value))
    if isinstance(match, OrMatch):
        tests = [_metadata_test(each, regex) for each in match.value_matchers]
        return lambda value: any(test(value) for test in tests)
    if isinstance(match, Present):
        # Envoy: of what is missing nothing can be said, not even that; an inverted matcher can.
        wanted = match.present
        return lambda value: wanted and value is not MISSING
    if isinstance(match, Range):
        start, end = match.start, match.end
        return lambda value: type(value) in (int, float) and start <= cast(float, value) < end
    text = text_test(match, regex)
    return lambda value: isinstance(value, str) and text(value)


def _value_rule(match: ValueMatch) -> str:
    if isinstance(match, ListMatch):
        return f" has {_value_rule(match.one_of)}"
    if isinstance(match, OrMatch):
        return " or ".join(map(_value_rule, match.value_matchers))
    return f"={match}" if match is None or isinstance(match, bool) else text_rule(match)


def _is_grpc(request: Request) -> bool:
    """A call of a gRPC library, or what looks like one to Envoy: by its content type."""
    if request.is_grpc:
        return True
    kind = request.header("content-type") or ""
    return kind == GRPC or kind.startswith(f"{GRPC}+")


IS_GRPC = Condition("gRPC", _is_grpc)


def query_parameter(path: str, name: str) -> str | None:
    """The first value of a parameter, still percent-encoded as Envoy compares it."""
    _, _, query = path.partition("?")
    for pair in query.partition("#")[0].split("&"):
        key, _, value = pair.partition("=")
        if key == name:
            return value
    return None


def path_of(path: str) -> str:
    """The path without query and fragment."""
    if "?" in path:
        path = path.partition("?")[0]
    return path.partition("#")[0] if "#" in path else path
