import json
from pathlib import Path

import pytest

from meshlib.dataplane import Request, python_regex
from meshlib.dataplane.routing.matchers import (
    header_condition,
    path_of,
    path_rule,
    path_test,
    query_condition,
    text_test,
)
from meshlib.model import (
    Contains,
    Exact,
    HeaderMatcher,
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
    SafeRegex,
    StringMatcher,
    Suffix,
)


def request(*headers: tuple[str, str], path: str = "/a?b=c", is_grpc: bool = False) -> Request:
    return Request("reviews:9080", "GET", path, headers=headers, is_grpc=is_grpc)


@pytest.mark.parametrize(
    ("matcher", "fits", "does_not"),
    [
        (Exact("a"), ["a"], ["A", "ab", ""]),
        (Exact("aB", ignore_case=True), ["ab", "AB"], ["abc"]),
        (Prefix("a"), ["a", "ab"], ["ba", "A"]),
        (Prefix("A", ignore_case=True), ["ab", "AB"], ["ba"]),
        (Suffix("b"), ["ab"], ["ba"]),
        (Contains("b"), ["abc"], ["ac", "aBc"]),
        (Contains("B", ignore_case=True), ["abc"], ["ac"]),
        (SafeRegex("a+"), ["a", "aa"], ["ab", "ba", ""]),
    ],
)
def test_a_text_fits_or_does_not(
    matcher: StringMatcher, fits: list[str], does_not: list[str]
) -> None:
    test = text_test(matcher, python_regex)
    assert [value for value in (*fits, *does_not) if test(value)] == fits


@pytest.mark.parametrize(
    ("matcher", "fits", "does_not"),
    [
        (PathExact("/a"), ["/a"], ["/a/", "/A", "/ab"]),
        (PathPrefix("/a"), ["/a", "/a/b", "/ab"], ["/A", "/b"]),
        (PathPrefix(""), ["/", "", "*"], []),
        (PathSeparatedPrefix("/a"), ["/a", "/a/", "/a/b"], ["/ab", "/A", "/"]),
        (PathRegex("/[ab]/\\d+"), ["/a/1"], ["/a/1/", "/c/1", "x/a/1"]),
    ],
)
def test_a_path_fits_or_does_not(
    matcher: PathMatcher, fits: list[str], does_not: list[str]
) -> None:
    test = path_test(RouteMatch(path=matcher), python_regex)
    assert [path for path in (*fits, *does_not) if test(path)] == fits


def test_the_case_of_a_path_may_be_ignored_but_not_that_of_a_regex() -> None:
    def test(path: PathMatcher) -> object:
        return path_test(RouteMatch(path=path, case_sensitive=False), python_regex)("/Api/X")

    assert test(PathExact("/aPI/x"))
    assert test(PathPrefix("/aPI"))
    assert test(PathSeparatedPrefix("/aPI"))
    assert not test(PathRegex("/api/.*"))


@pytest.mark.parametrize(
    ("matcher", "present", "other", "missing"),
    [
        # header is "v1"; then "v2"; then not there at all
        (HeaderMatcher(name="x", match=Exact("v1")), True, False, False),
        (HeaderMatcher(name="X", match=Exact("v1")), True, False, False),
        (HeaderMatcher(name="x", match=Exact("v1"), invert_match=True), False, True, False),
        (HeaderMatcher(name="x", match=Present()), True, True, False),
        (HeaderMatcher(name="x", match=Present(False)), False, False, True),
        (HeaderMatcher(name="x", match=Present(), invert_match=True), False, False, True),
        (HeaderMatcher(name="x", match=Present(False), invert_match=True), True, True, False),
        (
            HeaderMatcher(name="x", match=Exact(""), treat_missing_header_as_empty=True),
            False,
            False,
            True,
        ),
        (
            HeaderMatcher(
                name="x",
                match=Exact("v1"),
                invert_match=True,
                treat_missing_header_as_empty=True,
            ),
            False,
            True,
            True,
        ),
    ],
)
def test_a_header_is_asked_for(
    matcher: HeaderMatcher, present: bool, other: bool, missing: bool
) -> None:
    test = header_condition(matcher, python_regex).test
    answers = (test(request(("x", "v1"))), test(request(("x", "v2"))), test(request()))
    assert answers == (present, other, missing)


def test_one_of_the_values_of_a_repeated_header_has_to_fit() -> None:
    repeated = request(("x", "1"), ("y", "0"), ("x", "2"))
    for value, fits in (("1", True), ("2", True), ("1,2", False)):
        matcher = HeaderMatcher(name="x", match=Exact(value))
        assert header_condition(matcher, python_regex).test(repeated) is fits
        inverted = HeaderMatcher(name="x", match=Exact(value), invert_match=True)
        assert header_condition(inverted, python_regex).test(repeated) is not fits


def test_repeated_metadata_of_grpc_is_one_value() -> None:
    test = header_condition(HeaderMatcher(name="x", match=Exact("1,2")), python_regex).test
    assert test(request(("x", "1"), ("y", "0"), ("x", "2"), is_grpc=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (":method", "GET"),
        (":path", "/a?b=c"),
        (":authority", "reviews:9080"),
        (":scheme", "http"),
        ("host", "reviews:9080"),
    ],
)
def test_the_request_line_can_be_matched(name: str, value: str) -> None:
    assert header_condition(HeaderMatcher(name=name, match=Exact(value)), python_regex).test(
        request()
    )


def test_binary_metadata_of_grpc_counts_as_absent() -> None:
    there = header_condition(HeaderMatcher(name="x-bin"), python_regex).test
    gone = header_condition(HeaderMatcher(name="x-bin", match=Present(False)), python_regex).test
    assert there(request(("x-bin", "1")))
    assert not there(request(("x-bin", "1"), is_grpc=True))
    assert gone(request(("x-bin", "1"), is_grpc=True))


@pytest.mark.parametrize("value", ["5", "-3", "9", " 7 ", "+5"])
def test_a_number_within_the_range(value: str) -> None:
    assert ranged(value)


@pytest.mark.parametrize(
    "value", ["10", "-4", "1_0", "5.0", "", "-", "five", "\u0665", "0" * 5000 + "5", "--5"]
)
def test_no_number_or_none_within_the_range(value: str) -> None:
    assert not ranged(value)


def ranged(value: str) -> bool:
    matcher = HeaderMatcher(name="x", match=Range(-3, 10))
    return header_condition(matcher, python_regex).test(request(("x", value)))


@pytest.mark.parametrize(
    ("matcher", "path", "fits"),
    [
        (QueryParameterMatcher(name="q"), "/?q", True),
        (QueryParameterMatcher(name="q"), "/?p=1&q=2", True),
        (QueryParameterMatcher(name="q"), "/?qq=1", False),
        (QueryParameterMatcher(name="q"), "/q=1", False),
        (QueryParameterMatcher(name="q", match=Present(False)), "/?p=1", True),
        (QueryParameterMatcher(name="q", match=Present(False)), "/?q=1", False),
        (QueryParameterMatcher(name="q", match=Exact("1")), "/?q=1&q=2", True),
        (QueryParameterMatcher(name="q", match=Exact("2")), "/?q=1&q=2", False),
        (QueryParameterMatcher(name="q", match=Exact("a%20b")), "/?q=a%20b#f", True),
        (QueryParameterMatcher(name="q", match=SafeRegex("\\d+")), "/?q=", False),
        (QueryParameterMatcher(name="q", match=Exact("")), "/", False),
    ],
)
def test_a_query_parameter_is_asked_for(
    matcher: QueryParameterMatcher, path: str, fits: bool
) -> None:
    test = query_condition(matcher, python_regex).test
    assert test(request(path=path)) is fits
    assert test(request(path=path, is_grpc=True)) is False


def test_paths_lose_query_and_fragment_as_envoy_does_it(testdata: Path) -> None:
    rows = json.loads((testdata / "envoy_vectors_public.json").read_text())
    vectors = rows["remove_query_and_fragment"]
    assert len(vectors) == 17
    assert [path_of(row["input"]) for row in vectors] == [row["expected"] for row in vectors]


def test_conditions_can_be_read() -> None:
    assert (
        path_rule(RouteMatch(path=PathPrefix("/a"), case_sensitive=False)) == "path=/a* (any case)"
    )
    assert path_rule(RouteMatch(path=PathRegex("/a.*"))) == "path~/a.*"
    assert path_rule(RouteMatch(path=PathExact("/a"))) == "path=/a"
    assert path_rule(RouteMatch(path=PathSeparatedPrefix("/a"))) == "path=/a or below"
    rules = [
        header_condition(HeaderMatcher(name="X", match=match, invert_match=inverted), python_regex)
        for match, inverted in [
            (Exact("v"), False),
            (Prefix("v"), True),
            (Suffix("v"), False),
            (Contains("v"), False),
            (SafeRegex("v"), False),
            (Range(1, 9), False),
            (Present(), False),
            (Present(False), False),
        ]
    ]
    assert [condition.rule for condition in rules] == [
        "header x=v",
        "not header x=v*",
        "header x=*v",
        "header x=*v*",
        "header x~v",
        "header x in [1, 9)",
        "header x present",
        "header x absent",
    ]
