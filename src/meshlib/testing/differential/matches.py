"""What routes ask of requests, at random."""

from ...model import (
    Contains,
    Exact,
    HeaderMatcher,
    MetadataMatcher,
    PathExact,
    PathMatcher,
    PathPrefix,
    PathRegex,
    PathSeparatedPrefix,
    Prefix,
    Present,
    QueryParameterMatcher,
    Range,
    RouteMatch,
    RuntimeFraction,
    SafeRegex,
    StringMatcher,
    Suffix,
)
from .luck import Luck

PATHS = ("/", "/a", "/a/b", "/A/b", "/a/bc", "/ab", "/a/b/c", "/v1/a", "/v2/x-y", "/p.q/R")
REGEXES = ("/a.*", "/[ab]+", "/v[0-9]/.*", ".*", "/A?a?/.*", "/(a|b)/.+")
TEXTS = ("one", "two", "One", "on", "e", "two,one", "")
VALUES = ("one", "two", "ONE", "twone", "", "5", "-3", "7", "5x", "99999999999999999999")
VALUE_REGEXES = ("o.*", "[a-z]+", "", ".*", "one|two", "(?i)one", "one,two")
HEADERS = ("x-a", "x-b", "x-c", "user-agent")
PSEUDO = (":method", ":authority", ":path", ":scheme", "host")


def path_matcher(luck: Luck) -> PathMatcher:
    kind = luck.number(0, 3)
    if kind == 0:
        return PathExact(luck.one(PATHS))
    if kind == 1:
        return PathPrefix(luck.one(("", *PATHS)))
    if kind == 2:
        return PathSeparatedPrefix(luck.one(PATHS[1:]))
    return PathRegex(luck.one(REGEXES))


def string_matcher(luck: Luck, *, ignore_case: bool = True) -> StringMatcher:
    folded = ignore_case and luck.chance(0.3)
    kind = luck.number(0, 4)
    if kind == 0:
        return Exact(luck.one(TEXTS), folded)
    if kind == 1:
        return Prefix(luck.one(TEXTS[:-1]), folded)
    if kind == 2:
        return Suffix(luck.one(TEXTS[:-1]), folded)
    if kind == 3:
        return Contains(luck.one(TEXTS[:-1]), folded)
    return SafeRegex(luck.one(VALUE_REGEXES[:2] + VALUE_REGEXES[3:]))


def header_matcher(luck: Luck) -> HeaderMatcher:
    if luck.chance(0.15):
        return HeaderMatcher(
            name=luck.one(PSEUDO), match=SafeRegex(luck.one(("GET", "/a.*", ".*a.*")))
        )
    kind = luck.number(0, 5)
    match: StringMatcher | Range | Present = string_matcher(luck)
    if kind == 0:
        match = Present(luck.chance(0.6))
    if kind == 1:
        match = Range(luck.number(-5, 5), luck.number(6, 10))
    return HeaderMatcher(
        name=luck.one(HEADERS),
        match=match,
        invert_match=luck.chance(0.25),
        treat_missing_header_as_empty=luck.chance(0.25),
    )


def query_matcher(luck: Luck) -> QueryParameterMatcher:
    present = luck.chance(0.4)
    match = Present(luck.chance(0.8)) if present else string_matcher(luck)
    return QueryParameterMatcher(name=luck.one(("q", "r", "Q")), match=match)


def route_match(luck: Luck) -> RouteMatch:
    path = path_matcher(luck)
    # Envoy refuses a regular expression in any case.
    any_case = not isinstance(path, PathRegex) and luck.chance(0.2)
    return RouteMatch(
        path=path,
        case_sensitive=not any_case,
        headers=luck.maybe(lambda: luck.some(lambda: header_matcher(luck), 2), 0.4, ()),
        query_parameters=luck.maybe(lambda: (query_matcher(luck),), 0.15, ()),
        runtime_fraction=luck.maybe(lambda: fraction(luck), 0.1, None),
        grpc=luck.chance(0.04),
        dynamic_metadata=luck.maybe(lambda: (metadata_matcher(luck),), 0.05, ()),
    )


def metadata_matcher(luck: Luck) -> MetadataMatcher:
    """Nobody says anything of the requests, which is to be matched too."""
    matches: tuple[StringMatcher | Present | bool, ...] = (Present(), Exact("one"), True)
    return MetadataMatcher(
        filter="some", path=("key",), match=luck.one(matches), invert=luck.chance(0.5)
    )


def fraction(luck: Luck) -> RuntimeFraction:
    """None or all of the calls: what lies between is for others to measure."""
    return RuntimeFraction(numerator=luck.one((0, 100)), runtime_key="some.key")
