"""``RouteMatch`` and what it is made of ⇄ the model's matchers."""

from collections.abc import Callable

from ...model import (
    HeaderMatcher,
    PathExact,
    PathMatcher,
    PathPrefix,
    PathRegex,
    PathSeparatedPrefix,
    Present,
    QueryParameterMatcher,
    Range,
    RouteMatch,
    RuntimeFraction,
    SafeRegex,
    StringMatcher,
)
from .metadata_matcher import decode_metadata_matcher, encode_metadata_matcher
from .string_matcher import STRINGS, decode_string, encode_string
from .wire import Fields, Reader, wrapped

DENOMINATORS = {100: "HUNDRED", 10_000: "TEN_THOUSAND", 1_000_000: "MILLION"}
DENOMINATOR_OF = {name: number for number, name in DENOMINATORS.items()}
PATHS: dict[str, Callable[[str], PathMatcher]] = {
    "prefix": PathPrefix,
    "path": PathExact,
    "path_separated_prefix": PathSeparatedPrefix,
}

# A condition that cannot be judged must not be dropped: the route would match more than it may.
UNSUPPORTED_CONDITIONS = ("tls_context", "filter_state", "cookies")


def encode_match(match: RouteMatch) -> Fields:
    return {
        **_encode_path(match.path),
        "case_sensitive": None if match.case_sensitive else wrapped(False),
        "headers": [encode_header(header) for header in match.headers],
        "query_parameters": [_encode_query(query) for query in match.query_parameters],
        "runtime_fraction": _encode_runtime_fraction(match.runtime_fraction),
        "grpc": {} if match.grpc else None,
        "dynamic_metadata": [encode_metadata_matcher(one) for one in match.dynamic_metadata],
    }


def decode_match(reader: Reader) -> RouteMatch:
    for condition in UNSUPPORTED_CONDITIONS:
        if reader.has(condition):
            reader.refuse(condition)
    return RouteMatch(
        path=_decode_path(reader),
        case_sensitive=reader.flag("case_sensitive", True),
        headers=tuple(decode_header(header) for header in reader.children("headers")),
        query_parameters=tuple(_decode_query(q) for q in reader.children("query_parameters")),
        runtime_fraction=_decode_runtime_fraction(reader),
        grpc=reader.optional_child("grpc") is not None,
        dynamic_metadata=tuple(map(decode_metadata_matcher, reader.children("dynamic_metadata"))),
    )


def _encode_path(path: PathMatcher) -> Fields:
    match path:
        case PathPrefix(value):
            return {"prefix": value}
        case PathExact(value):
            return {"path": value}
        case PathSeparatedPrefix(value):
            return {"path_separated_prefix": value}
        case PathRegex(regex):
            return {"safe_regex": {"regex": regex}}


def _decode_path(reader: Reader) -> PathMatcher:
    kind = reader.which(*PATHS, "safe_regex")
    if kind == "safe_regex":
        return PathRegex(reader.regex(kind))
    if not kind:
        reader.refuse("connect_matcher", "path_match_policy", otherwise="no path to match")
        return PathPrefix("")
    value = reader.text(kind)
    if kind == "path_separated_prefix" and not _is_separable(value):
        reader.problem("must begin with '/', not end with it, and have no '?' or '#'", kind)
    return PATHS[kind](value)


def _is_separable(prefix: str) -> bool:
    begins, ends = prefix.startswith("/"), prefix.endswith("/")
    return begins and not ends and not {"?", "#"} & set(prefix)


def encode_header(header: HeaderMatcher) -> Fields:
    fields: Fields = {
        "name": header.name,
        "invert_match": header.invert_match,
        "treat_missing_header_as_empty": header.treat_missing_header_as_empty,
    }
    match header.match:
        case Present(present):
            return {**fields, "present_match": present}
        case Range(start, end):
            return {**fields, "range_match": {"start": start, "end": end}}
        case text:
            return {**fields, "string_match": encode_string(text)}


def decode_header(reader: Reader) -> HeaderMatcher:
    return HeaderMatcher(
        name=reader.text("name", required=True),
        match=_decode_header_match(reader),
        invert_match=reader.flag("invert_match"),
        treat_missing_header_as_empty=reader.flag("treat_missing_header_as_empty"),
    )


def _decode_header_match(reader: Reader) -> StringMatcher | Range | Present:
    """The words of before ``string_match`` are still spoken by many control planes."""
    if reader.has("string_match"):
        return decode_string(reader.child("string_match"))
    if reader.has("safe_regex_match"):
        return SafeRegex(reader.regex("safe_regex_match"))
    if reader.has("range_match"):
        limits = reader.child("range_match")
        return Range(limits.number("start", low=-(2**63)), limits.number("end", low=-(2**63)))
    for kind, string_matcher in STRINGS.items():
        if reader.has(f"{kind}_match"):
            return string_matcher(reader.text(f"{kind}_match", required=kind != "exact"))
    return Present(reader.flag("present_match", True))


def _encode_query(query: QueryParameterMatcher) -> Fields:
    match query.match:
        case Present(present):
            return {"name": query.name, "present_match": present}
        case text:
            return {"name": query.name, "string_match": encode_string(text)}


def _decode_query(reader: Reader) -> QueryParameterMatcher:
    name = reader.text("name", required=True)
    if reader.has("string_match"):
        return QueryParameterMatcher(name=name, match=decode_string(reader.child("string_match")))
    return QueryParameterMatcher(name=name, match=Present(reader.flag("present_match", True)))


def encode_fraction(numerator: int, denominator: int) -> Fields:
    return {"numerator": numerator, "denominator": DENOMINATORS[denominator]}


def decode_fraction(reader: Reader) -> tuple[int, int]:
    """An ``envoy.type.v3.FractionalPercent``."""
    return reader.number("numerator"), DENOMINATOR_OF[reader.enum("denominator")]


def _encode_runtime_fraction(fraction: RuntimeFraction | None) -> Fields | None:
    if fraction is None:
        return None
    default = encode_fraction(fraction.numerator, fraction.denominator)
    return {"default_value": default, "runtime_key": fraction.runtime_key}


def _decode_runtime_fraction(reader: Reader) -> RuntimeFraction | None:
    fraction = reader.optional_child("runtime_fraction")
    if fraction is None:
        return None
    if not fraction.has("default_value"):
        fraction.problem("must be set", "default_value")
    numerator, denominator = decode_fraction(fraction.child("default_value"))
    return RuntimeFraction(
        numerator=numerator, denominator=denominator, runtime_key=fraction.text("runtime_key")
    )
